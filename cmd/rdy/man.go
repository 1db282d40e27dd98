package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go run . man --markdown ../../docs/RDY.md

func newMan() *cobra.Command {
	var dir, markdown string
	cmd := &cobra.Command{
		Use:   "man (--dir directory | --markdown file)",
		Short: "Write the man pages, or a reference in Markdown",
		Long: `Write a man page for each command, such as rdy-topic-list.1, or the help of all commands as
one file of Markdown.`,
		Example: `  rdy man --dir /usr/local/share/man/man1
  rdy man --markdown RDY.md`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case (dir == "") == (markdown == ""):
				return usage(cmd, "want --dir or --markdown")
			case markdown != "":
				return os.WriteFile(markdown, reference(cmd.Root()), fileMode) // #nosec G306 -- umask decides
			}
			if err := makeDirs(dir); err != nil {
				return err
			}
			for _, c := range commandTree(cmd.Root()) {
				if err := os.WriteFile(filepath.Join(dir, manName(c)+".1"), manPage(c), fileMode); err != nil { // #nosec G306 -- umask decides
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` for man pages; created if it does not exist")
	cmd.Flags().StringVar(&markdown, "markdown", "", "`file` for the reference; replaced if it exists")
	return cmd
}

// commandTree returns a command and those under it, as help lists them.
func commandTree(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			all = append(all, commandTree(sub)...)
		}
	}
	return all
}

// reference returns the help of all commands as Markdown. It is in blocks of code, which keep
// columns and placeholders such as <TOPIC>.
func reference(root *cobra.Command) []byte {
	var out bytes.Buffer
	out.WriteString("# rdy\n\nThe help of all commands. This file is generated: run `go generate ./...` in `cmd/rdy`.\n")
	for _, c := range commandTree(root) {
		c.InitDefaultHelpFlag()
		fmt.Fprintf(&out, "\n## %s\n\n```text\n%s\n\n%s\n```\n", c.CommandPath(), strings.TrimSpace(longHelp(c)), strings.TrimSpace(c.UsageString()))
	}
	return out.Bytes()
}

func longHelp(c *cobra.Command) string {
	if c.Long == "" {
		return c.Short
	}
	return c.Long
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// manPage returns the man page of a command, for man's macros. Package cobra/doc takes help
// for Markdown: it would join the lines of columns, and drop placeholders such as <TOPIC>.
func manPage(c *cobra.Command) []byte {
	c.InitDefaultHelpFlag()
	var out bytes.Buffer
	fmt.Fprintf(&out, ".TH %s 1 \"\" \"rdy\" \"Commands\"\n", roff(strings.ToUpper(manName(c))))
	fmt.Fprintf(&out, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(c.Short))
	fmt.Fprintf(&out, ".SH SYNOPSIS\n%s\n", roff(c.UseLine()))
	out.WriteString(".SH DESCRIPTION\n")
	roffText(&out, longHelp(c))
	roffFlags(&out, "OPTIONS", c.NonInheritedFlags())
	roffFlags(&out, "GLOBAL OPTIONS", c.InheritedFlags())
	out.WriteString(".SH EXAMPLES\n")
	roffText(&out, c.Example)
	var also []string
	if c.HasParent() {
		also = append(also, manName(c.Parent()))
	}
	for _, sub := range commandTree(c)[1:] {
		if sub.Parent() == c {
			also = append(also, manName(sub))
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(&out, ".SH SEE ALSO\n%s(1)\n", roff(strings.Join(also, "(1), ")))
	}
	return out.Bytes()
}

// roffText writes paragraphs. Lines that begin with a space keep their form.
func roffText(out *bytes.Buffer, text string) {
	verbatim := false
	set := func(on bool) {
		if on != verbatim {
			out.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[on])
			verbatim = on
		}
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if line == "" {
			set(false)
			out.WriteString(".PP\n")
			continue
		}
		set(line[0] == ' ')
		out.WriteString(roff(line) + "\n")
	}
	set(false)
}

// roffFlags writes a section about flags, if there are any.
func roffFlags(out *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(out, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		names := "--" + f.Name
		if f.Shorthand != "" {
			names = "-" + f.Shorthand + ", " + names
		}
		kind, about := pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			about += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(out, ".TP\n\\fB%s\\fR", roff(names))
		if kind != "" {
			fmt.Fprintf(out, " \\fI%s\\fR", roff(kind))
		}
		fmt.Fprintf(out, "\n%s\n", roff(about))
	})
}

// roff escapes a line.
func roff(line string) string {
	var out strings.Builder
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		out.WriteString(`\&`) // otherwise it would be a macro
	}
	for _, r := range line {
		switch {
		case r == '\\':
			out.WriteString(`\e`)
		case r == '-':
			out.WriteString(`\-`) // "-" alone is a hyphen, which a shell does not understand
		case r > unicode.MaxASCII:
			fmt.Fprintf(&out, `\[u%04X]`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
