package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is what the build recorded; fields that it did not record are empty.
type version struct {
	Module   string `json:"module,omitempty"`   // that rdy is in
	Version  string `json:"version"`            // of the module, or (devel)
	Commit   string `json:"commit,omitempty"`   // that rdy was built from
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified,omitempty"` // rdy was built with uncommitted changes
	NSQD     string `json:"nsqd,omitempty"`     // version of the built-in nsqd
	Tested   tested `json:"tested_nsqd"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// tested are versions of nsqd.
type tested [2]string

// testedNSQDs are the versions that rdy was tested with, the built-in one among them.
var testedNSQDs = tested{"1.2.1", "1.3.0"}

func readVersion() version {
	v := version{Version: "(unknown)", Tested: testedNSQDs, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Module = info.Main.Path
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/nsqio/nsq" {
			v.NSQD = dep.Version
		}
	}
	return v
}

func (v version) String() string {
	parts := []string{"rdy " + v.Version}
	if v.Commit != "" {
		commit := "commit " + v.Commit
		if v.Modified {
			commit += " with changes"
		}
		parts = append(parts, commit)
	}
	if v.NSQD != "" {
		parts = append(parts, "nsqd "+v.NSQD)
	}
	return strings.Join(append(parts, v.Go, v.Platform), ", ")
}

// text returns the version as text for people.
func (v version) text() string {
	return v.String() + "\ntested with nsqd " + strings.Join(v.Tested[:], " and ") + "\n"
}

// addVersionFlag makes --version print what "rdy version" prints, on every command.
func addVersionFlag(root *cobra.Command) {
	root.PersistentFlags().Bool("version", false, "print the version")
	root.SetVersionTemplate("{{.Version}}")
	setVersion(root, readVersion().text())
}

// setVersion makes cobra handle --version on a command and those under it.
func setVersion(cmd *cobra.Command, text string) {
	cmd.Version = text
	for _, sub := range cmd.Commands() {
		setVersion(sub, text)
	}
}

func newVersion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the versions of rdy, of the nsqd built into it, and of Go, as recorded by the build,
and the versions of nsqd that rdy was tested with.

The JSON has "module", "version", "commit" with its "time", "modified" if rdy was built with
uncommitted changes, "nsqd", "tested_nsqd", "go" and "platform".

` + outputHelp,
		Example: `  rdy version
  rdy version --jq .commit`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.print(v, func() []byte { return []byte(v.text()) })
		},
	}
	a.outputFlags(cmd.Flags())
	return cmd
}
