package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rdyhq/nsq/admin"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completionTimeout bounds how long a key press waits for daemons.
const completionTimeout = time.Second

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion (bash | zsh | fish | powershell)",
		Short: "Print a script that completes commands in a shell",
		Long: `Print a script that makes a shell complete the commands of rdy, their flags, the words that
flags take, and profiles. It also completes the topics and channels of the cluster that the
flags, the environment or a profile name. Daemons have a second to respond; if none does, no
topics are offered.

  bash        source <(rdy completion bash), in ~/.bashrc; needs bash-completion
  zsh         rdy completion zsh > "${fpath[1]}/_rdy", and a new shell
  fish        rdy completion fish > ~/.config/fish/completions/rdy.fish
  powershell  rdy completion powershell | Out-String | Invoke-Expression, in $PROFILE`,
		Example: `  rdy completion bash > /etc/bash_completion.d/rdy
  rdy completion zsh > "${fpath[1]}/_rdy"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage(cmd, "want %s", strings.Join(shells, ", "))
			}
			return nil
		},
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}
}

// complete makes the shell complete the arguments and flags of a command and those under it.
// What they take is told by the usage line, such as "describe TOPIC CHANNEL", and by the types
// of flags.
func (a *app) complete(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.complete(sub)
	}
	complete := func(f *pflag.Flag) {
		if find := a.completerOf(f); find != nil {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, completeWith(find)) // fails only a second time
		}
	}
	cmd.LocalFlags().VisitAll(complete)
	cmd.PersistentFlags().VisitAll(complete)
	kinds := argumentKinds(cmd.Use)
	if len(cmd.ValidArgs) > 0 || cmd.ValidArgsFunction != nil || cmd.HasSubCommands() {
		return
	}
	arguments := completeWith(func(cmd *cobra.Command, args []string) []string {
		switch kindOf(kinds, len(args)) {
		case "TOPIC":
			return without(a.clusterTopics(cmd), args)
		case "CHANNEL":
			return a.clusterChannels(cmd, args[0])
		case "NAME":
			return profileNames()
		case "NSQD":
			return a.clusterNSQDs(cmd)
		}
		return nil
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if kindOf(kinds, len(args)) == "FILE" {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return arguments(cmd, args, begin)
	}
}

// kindOf returns what the i-th argument is, "" if there is none. The last kind may be repeated.
func kindOf(kinds []string, i int) string {
	if i < len(kinds) {
		return strings.TrimSuffix(kinds[i], "...")
	}
	if len(kinds) > 0 {
		if last, repeated := strings.CutSuffix(kinds[len(kinds)-1], "..."); repeated {
			return last
		}
	}
	return ""
}

// argumentKinds returns the arguments of a usage line: its words in capitals.
func argumentKinds(use string) (kinds []string) {
	for _, word := range strings.Fields(use)[1:] {
		word = strings.Trim(word, "[]()")
		if strings.Trim(strings.TrimSuffix(word, "..."), "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") == "" && word != "" && word[0] != '-' && word[0] != '.' {
			kinds = append(kinds, word)
		}
	}
	return kinds
}

// completerOf returns what finds the values of a flag, nil if nothing can.
func (a *app) completerOf(f *pflag.Flag) func(*cobra.Command, []string) []string {
	fixed := func(words ...string) func(*cobra.Command, []string) []string {
		return func(*cobra.Command, []string) []string { return words }
	}
	switch v := f.Value.(type) {
	case *oneOf:
		return fixed(v.words...)
	case *levelFlag:
		return fixed("debug", "info", "warn", "error")
	case *topicFlag:
		return func(cmd *cobra.Command, _ []string) []string { return a.clusterTopics(cmd) }
	case *channelFlag:
		return func(cmd *cobra.Command, args []string) []string { return a.clusterChannels(cmd, topicOf(cmd, args)) }
	}
	switch {
	case f.Name == "profile":
		return func(*cobra.Command, []string) []string { return profileNames() }
	case f.Value.Type() == "bool" || strings.Contains(f.Usage, "`file`") || strings.Contains(f.Usage, "`directory`"):
		return nil // the shell completes these
	}
	return fixed()
}

// completeWith makes a function for cobra. What finds nothing leads to no suggestion, not to
// names of files.
func completeWith(find func(*cobra.Command, []string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var fit []cobra.Completion
		for _, word := range find(cmd, args) {
			if strings.HasPrefix(word, begin) {
				fit = append(fit, word)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

func without(words, used []string) []string {
	return slices.DeleteFunc(words, func(word string) bool { return slices.Contains(used, word) })
}

func profileNames() []string {
	f, err := readProfiles()
	if err != nil {
		return nil
	}
	return f.names()
}

// topicOf returns the topic that a command line names, by --topic or as an argument.
func topicOf(cmd *cobra.Command, args []string) string {
	if f := cmd.Flags().Lookup("topic"); f != nil && f.Changed {
		return f.Value.String()
	}
	if len(args) > 0 {
		return args[0]
	}
	return ""
}

// clusterTopics returns the topics of the cluster that a command line names.
func (a *app) clusterTopics(cmd *cobra.Command) (names []string) {
	a.showCluster(cmd, "", func(v *admin.View) {
		for i := range v.Topics {
			names = append(names, v.Topics[i].Name)
		}
	})
	return names
}

// clusterChannels returns the channels of a topic.
func (a *app) clusterChannels(cmd *cobra.Command, topic string) (names []string) {
	if topic == "" {
		return nil
	}
	a.showCluster(cmd, topic, func(v *admin.View) {
		if t := v.Topic(topic); t != nil {
			for i := range t.Channels {
				names = append(names, t.Channels[i].Name)
			}
		}
	})
	return names
}

// clusterNSQDs returns the HTTP addresses of the nsqds.
func (a *app) clusterNSQDs(cmd *cobra.Command) (addrs []string) {
	a.showCluster(cmd, "", func(v *admin.View) {
		for _, n := range v.NSQDs {
			addrs = append(addrs, n.Addr)
		}
	})
	return addrs
}

// showCluster polls the cluster that the flags, the environment or a profile name, and shows what
// those daemons count that respond in time. It is silent about all others.
func (a *app) showCluster(cmd *cobra.Command, topic string, show func(*admin.View)) {
	e, err := a.effective(cmd.Flags())
	if err != nil {
		return
	}
	c := &admin.Cluster{Lookupds: e.k.Strings(lookupdKey), NSQDs: e.k.Strings(nsqdHTTPKey)}
	if len(c.Lookupds)+len(c.NSQDs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	c.Client = &http.Client{Transport: transport, CheckRedirect: noRedirect}
	var v *admin.View
	if topic == "" {
		v, _ = c.Poll(ctx)
	} else {
		v, _ = c.PollClients(ctx, topic, "")
	}
	show(v)
}
