package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is what the build recorded; fields that it did not record are empty.
type version struct {
	Version  string `json:"version"`            // of the module, or (devel)
	Commit   string `json:"commit,omitempty"`   // that rdy was built from
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified,omitempty"` // rdy was built with uncommitted changes
	NSQD     string `json:"nsqd,omitempty"`     // version of the built-in nsqd
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() version {
	v := version{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
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

func newVersion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the versions of rdy, of the nsqd built into it, and of Go, as recorded by the build.",
		Example: "  rdy version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			return a.print(v, func() []byte { return []byte(v.String() + "\n") })
		},
	}
	a.outputFlags(cmd.Flags())
	return cmd
}
