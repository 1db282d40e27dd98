package main

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// profileHelp is about profiles, wherever they are used.
const profileHelp = `A profile names a cluster and says how to reach it. It replaces missing flags: --lookupd,
--nsqd, --nsqd-http, --timeout (of requests to daemons), --auth-secret-file and --set. For
each setting the first of these sources that has it counts:

  1. the flags of the command
  2. the profile that --profile names
  3. the environment variables RDY_LOOKUPD, RDY_NSQD and RDY_NSQD_HTTP, with addresses
     separated by commas, RDY_TIMEOUT, RDY_AUTH_SECRET_FILE and RDY_AUTH_SECRET
  4. the profile that RDY_PROFILE names, or else the one of "rdy profile use"

All addresses come from the same source, so parts of two clusters never mix. Options of
--set add to those of a profile. Commands that read or publish messages use the nsqlookupds
of a profile, or its nsqds if it has no nsqlookupd.

Profiles are in rdy/config.toml in your configuration directory, such as ~/.config, or in
the file that RDY_CONFIG names:

  use = "staging"

  [profile.staging]
  lookupd = ["nsqlookupd-1:4161", "https://nsqlookupd-2.example"]
  nsqd = ["nsqd-1:4150"]
  nsqd_http = ["nsqd-1:4151"]
  timeout = "5s"
  auth_secret_file = "/etc/nsq/secret"

  [profile.staging.set]
  tls_root_ca_file = "/etc/nsq/ca.pem"

A profile holds no secret, only the name of the file with the secret.`

func newProfile(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "profile",
		Short: "List, show and change profiles, which name clusters",
		Long:  profileHelp,
		Example: `  rdy profile set staging --lookupd nsqlookupd-1:4161
  rdy profile use staging
  rdy profile show`,
	})
	cmd.AddCommand(newProfileList(a), newProfileShow(a), newProfileSet(a), newProfileUse(a), newProfileDelete(a))
	return cmd
}

// profileList is what "rdy profile list --json" prints.
type profileList struct {
	File     string         `json:"file"`
	InUse    string         `json:"in_use"` // empty for none
	Profiles []profileEntry `json:"profiles"`
}

// profileEntry is a profile in the list.
type profileEntry struct {
	Name           string            `json:"name"`
	Lookupds       []string          `json:"lookupd,omitempty"`
	NSQDs          []string          `json:"nsqd,omitempty"`
	NSQDHTTP       []string          `json:"nsqd_http,omitempty"`
	Timeout        string            `json:"timeout,omitempty"`
	AuthSecretFile string            `json:"auth_secret_file,omitempty"`
	Set            map[string]string `json:"set,omitempty"`
}

func newProfileList(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the profiles",
		Long: `List the profiles and the addresses that they name. "*" marks the one in use.

The JSON has "file", "in_use" and "profiles", each with its "name" and its settings, named
as in the file.

` + outputHelp,
		Example: `  rdy profile list
  rdy profile list --jq '.profiles[].name'`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := readProfiles()
			if err != nil {
				return err
			}
			l := profileList{File: f.path, InUse: cmp.Or(a.profile, f.inUse()), Profiles: []profileEntry{}}
			for _, name := range f.names() {
				p, err := f.profile(name)
				if err != nil {
					return err
				}
				l.Profiles = append(l.Profiles, profileEntry{
					name, p.Strings(lookupdKey), p.Strings(nsqdKey), p.Strings(nsqdHTTPKey),
					p.String(timeoutKey), p.String(secretFileKey), p.StringMap(setKey),
				})
			}
			return a.print(l, l.table)
		},
	}
	a.outputFlags(cmd.Flags())
	return cmd
}

func (l profileList) table() []byte {
	if len(l.Profiles) == 0 {
		return []byte("no profiles in " + l.File + "\n")
	}
	rows := [][]string{{"", "profile", "lookupd", "nsqd", "nsqd_http"}}
	for _, p := range l.Profiles {
		mark := ""
		if p.Name == l.InUse {
			mark = "*"
		}
		rows = append(rows, []string{mark, p.Name, orNone(p.Lookupds), orNone(p.NSQDs), orNone(p.NSQDHTTP)})
	}
	var out bytes.Buffer
	align(&out, len(rows[0]), rows)
	return out.Bytes()
}

func orNone(addrs []string) string {
	if len(addrs) == 0 {
		return noFigure
	}
	return figures.List(addrs)
}

// profileView is what "rdy profile show --json" prints.
type profileView struct {
	Profile  string           `json:"profile"` // empty for none
	File     string           `json:"file"`
	Settings []profileSetting `json:"settings"`
}

// profileSetting is a setting that holds.
type profileSetting struct {
	Name  string `json:"name"`
	Value any    `json:"value"` // a string or a list of strings
	From  string `json:"from"`
}

func newProfileShow(a *app) *cobra.Command {
	flags := &profileFlags{}
	cmd := &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show the settings in effect, and where each comes from",
		Long: `Show the settings in effect with a profile (by default the one in use), this environment and
the flags given here, and where each comes from. Secrets are shown as ***.

The JSON has "profile", "file" and "settings", each with "name", "value" and "from".

` + profileHelp + "\n\n" + outputHelp,
		Example: `  rdy profile show
  rdy profile show staging --json
  rdy profile show --lookupd 127.0.0.1:4161`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(cmd, "want at most one profile, got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if err := cmd.Flags().Set("profile", args[0]); err != nil {
					return err
				}
			}
			e, err := a.effective(cmd.Flags())
			if err != nil {
				return err
			}
			v := profileView{Profile: e.profile, File: e.file.path, Settings: e.settings()}
			return a.print(v, v.table)
		},
	}
	flags.add(cmd.Flags())
	fromProfile(cmd.Flags(), profileFlagNames...)
	a.outputFlags(cmd.Flags())
	return cmd
}

// settings returns the settings that hold, without secrets.
func (e *effective) settings() []profileSetting {
	const hidden = "***"
	var all []profileSetting
	for _, key := range append(profileKeyNames(), secretOption) {
		switch {
		case key == setKey:
			for _, option := range e.k.MapKeys(setKey) {
				full := setKey + keyDelimiter + option
				value := e.k.String(full)
				if option == secretOption {
					value = hidden
				}
				all = append(all, profileSetting{setKey + "." + option, value, e.from[full]})
			}
		case key == secretOption && e.k.Exists(key):
			all = append(all, profileSetting{key, hidden, e.from[key]})
		case e.k.Exists(key):
			all = append(all, profileSetting{key, e.k.Get(key), e.from[key]})
		case key == timeoutKey:
			all = append(all, profileSetting{key, defaultRequestTimeout.String(), "default"})
		}
	}
	return all
}

func (v profileView) table() []byte {
	var out bytes.Buffer
	if v.Profile == "" {
		fmt.Fprintf(&out, "no profile in use; file %s\n\n", v.File)
	} else {
		fmt.Fprintf(&out, "profile %s, file %s\n\n", v.Profile, v.File)
	}
	rows := [][]string{{"setting", "value", "from"}}
	for _, s := range v.Settings {
		text, isText := s.Value.(string)
		if !isText {
			text = strings.Join(s.Value.([]string), ", ")
		}
		rows = append(rows, []string{s.Name, text, s.From})
	}
	align(&out, len(rows[0]), rows)
	return out.Bytes()
}

// profileFlags are the flags whose values a profile holds.
type profileFlags struct {
	lookupds, nsqdHTTP httpAddrsFlag
	nsqds              addrsFlag
	timeout            time.Duration
	client             clientFlags
}

var profileFlagNames = []string{"lookupd", "nsqd", "nsqd-http", "timeout", "auth-secret-file", settingsName}

func (p *profileFlags) add(f *pflag.FlagSet) {
	f.SortFlags = false
	p.timeout = defaultRequestTimeout
	f.Var(&p.lookupds, "lookupd", "HTTP address of an nsqlookupd; repeat the flag for more")
	f.Var(&p.nsqds, "nsqd", "TCP address of an nsqd; repeat the flag for more")
	f.Var(&p.nsqdHTTP, "nsqd-http", "HTTP address of an nsqd; repeat the flag for more")
	f.Var(durationFlag(&p.timeout, minRequestTimeout, maxRequestTimeout), "timeout", "how long a request to a daemon may take")
	p.client.add(f)
}

func newProfileSet(a *app) *cobra.Command {
	flags := &profileFlags{}
	var unset []string
	cmd := &cobra.Command{
		Use:   "set NAME [--lookupd address] [--nsqd host:port] [--nsqd-http address] ...",
		Short: "Create a profile, or change its settings",
		Long: `Create a profile, or change its settings. Each flag replaces that setting of the profile,
but --set changes only the options that it names. --unset removes a setting, and --unset
set.OPTION an option. File names become absolute. Comments in the configuration file are
lost.

` + profileHelp,
		Example: `  rdy profile set staging --lookupd nsqlookupd-1:4161 --lookupd nsqlookupd-2:4161
  rdy profile set staging --auth-secret-file secret --set tls_root_ca_file,ca.pem
  rdy profile set staging --unset timeout`,
		Args: oneProfile,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeProfiles(func(f *profileFile) (string, error) {
				if !profileName.MatchString(args[0]) {
					return "", usage(cmd, "invalid profile name %q: want %s", args[0], profileNameRule)
				}
				return "saved profile " + args[0], flags.store(cmd, f, args[0], unset)
			})
		},
	}
	flags.add(cmd.Flags())
	for _, name := range profileFlagNames {
		_ = cmd.Flags().SetAnnotation(name, profileAnnotation, nil) // what the profile has stays as it is
	}
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "`setting` to remove, such as timeout; repeat the flag for more")
	return cmd
}

// store puts the flags that were given into a profile, and takes settings out of it.
func (p *profileFlags) store(cmd *cobra.Command, f *profileFile, name string, unset []string) error {
	if p.client.settings.has(secretOption) {
		return usage(cmd, "a profile holds no secret: put it in a file, and name the file with --auth-secret-file")
	}
	at := koanf.New(keyDelimiter)
	if slices.Contains(f.names(), name) {
		var err error
		if at, err = f.profile(name); err != nil {
			return err
		}
	}
	for _, key := range unset {
		top, option, isOption := strings.Cut(key, ".")
		if !slices.Contains(profileKeyNames(), top) || isOption && top != setKey {
			return usage(cmd, "--unset %s: want %s or %s.OPTION", key, strings.Join(profileKeyNames(), ", "), setKey)
		}
		at.Delete(strings.TrimSuffix(top+keyDelimiter+option, keyDelimiter))
	}
	for _, name := range profileFlagNames {
		if flag := cmd.Flags().Lookup(name); flag.Changed {
			if err := storeSetting(at, strings.ReplaceAll(name, "-", "_"), settingValue(flag.Value)); err != nil {
				return err
			}
		}
	}
	if _, err := normalize(at.Raw()); err != nil {
		return usage(cmd, "%s", oneLine(err))
	}
	f.k.Delete(profilesKey + keyDelimiter + name)
	return f.k.Set(profilesKey+keyDelimiter+name, at.Raw())
}

// storeSetting sets a setting of a profile. Commands run in other directories: names of files
// become absolute.
func storeSetting(at *koanf.Koanf, key string, value any) error {
	if options, ok := value.(map[string]any); ok {
		for option, v := range options {
			if err := storeSetting(at, key+keyDelimiter+option, v); err != nil {
				return err
			}
		}
		return nil
	}
	if option := strings.TrimPrefix(key, setKey+keyDelimiter); key == secretFileKey || slices.Contains(fileOptions, option) {
		path, err := filepath.Abs(value.(string))
		if err != nil {
			return err
		}
		value = path
	}
	return at.Set(key, value)
}

func newProfileUse(a *app) *cobra.Command {
	none := false
	cmd := &cobra.Command{
		Use:   "use (NAME | --none)",
		Short: "Use a profile from now on",
		Long: `Use a profile from now on, in all commands without --profile and RDY_PROFILE. With --none
use no profile.`,
		Example: `  rdy profile use staging
  rdy profile use --none`,
		Args: func(cmd *cobra.Command, args []string) error {
			if none && len(args) == 0 {
				return nil
			}
			if none {
				return usage(cmd, "--none and a profile exclude each other")
			}
			return oneProfile(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeProfiles(func(f *profileFile) (string, error) {
				if none {
					f.k.Delete(useKey)
					return "using no profile from now on", nil
				}
				if _, err := f.profile(args[0]); err != nil {
					return "", err
				}
				return "using profile " + args[0] + " from now on", f.k.Set(useKey, args[0])
			})
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "use no profile")
	return cmd
}

func newProfileDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a profile",
		Long:  "Delete a profile. If it is in use, no profile is used afterwards.",
		Example: `  rdy profile delete staging
  rdy profile delete old.cluster`,
		Args: oneProfile,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeProfiles(func(f *profileFile) (string, error) {
				if _, err := f.profile(args[0]); err != nil {
					return "", err
				}
				if f.k.String(useKey) == args[0] {
					f.k.Delete(useKey)
				}
				f.k.Delete(profilesKey + keyDelimiter + args[0])
				return "deleted profile " + args[0], nil
			})
		},
	}
}

func oneProfile(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usage(cmd, "want the name of one profile, got %s", figures.Things(len(args), "argument"))
	}
	return nil
}

// changeProfiles changes the file with the profiles, and says what was done.
func (a *app) changeProfiles(change func(*profileFile) (done string, err error)) error {
	f, err := readProfiles()
	if err != nil {
		return err
	}
	done, err := change(f)
	if err != nil {
		return err
	}
	if err := f.save(); err != nil {
		return err
	}
	a.notice("rdy: %s; wrote %s", done, f.path)
	return nil
}
