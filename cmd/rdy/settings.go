package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rdyhq/nsq"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	// secretEnv names the environment variable with the secret for AUTH.
	secretEnv = "RDY_AUTH_SECRET"

	secretOption   = "auth_secret"
	secretFileName = "auth-secret-file"

	maxSecret = 1 << 20 // bytes of a file with a secret; a mistake such as /dev/zero must end
)

// clientHelp is about the flags of clientFlags.
const clientHelp = `rdy reads the secret for AUTH from --auth-secret-file, or else from the environment variable
` + secretEnv + `. If --set ` + secretOption + ` gives it, other users of this machine can
see it in the list of processes. Addresses and options that are not given come from the
environment or a profile: see "rdy profile".`

// clientFlags are the flags with which commands set options of nsq.Config.
type clientFlags struct {
	settings   settings
	secretFile string

	// A command with connections to a second cluster has these flags twice. Those of the second
	// have names with a prefix. Its secret is not that of secretEnv, which is the first's.
	prefix string
	of     string // for the help: whose flags they are
}

func (c *clientFlags) add(f *pflag.FlagSet) {
	f.Var(&c.settings, c.prefix+settingsName, settingsUsage(c.of))
	f.StringVar(&c.secretFile, c.prefix+secretFileName, "", "`file` with the secret for AUTH"+c.of+"; a newline at its end does not count")
	if c.prefix == "" {
		fromProfile(f, settingsName, secretFileName)
	}
}

// apply sets the options in cfg.
func (c *clientFlags) apply(cfg *nsq.Config) error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	cfg.AuthSecret = secret
	return c.settings.apply(cfg)
}

// secret returns the secret for AUTH, unless --set sets it.
func (c *clientFlags) secret() (string, error) {
	switch {
	case c.secretFile == "" && c.prefix != "":
		return "", nil
	case c.secretFile == "":
		return os.Getenv(secretEnv), nil
	case c.settings.has(secretOption):
		return "", fmt.Errorf("--%s and --%s %s exclude each other", c.prefix+secretFileName, c.prefix+settingsName, secretOption)
	}
	f, err := os.Open(c.secretFile)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" || len(data) > maxSecret {
		return "", fmt.Errorf("--%s %s has %d bytes, want a secret of at most %d", c.prefix+secretFileName, c.secretFile, len(data), maxSecret)
	}
	return secret, nil
}

// settings is a flag that takes an option of nsq.Config with its value, and may be
// repeated.
type settings []string

const settingsName = "set"

// settingsUsage describes the flag. of says whose option it sets, if there are several.
func settingsUsage(of string) string {
	return "option of the client library" + of + ", such as snappy,true or tls_root_ca_file,ca.pem; repeat the flag for more"
}

func (s *settings) String() string { return "" }
func (s *settings) Type() string   { return "option,value" }

// Set checks an option. Its errors do not show the value of an option that does not
// exist: it may be a misspelt auth_secret.
func (s *settings) Set(option string) error {
	if name, rest := cutName(option); rest != "" && rest[0] != ',' {
		return fmt.Errorf("want the option's name, a comma and its value: %s,VALUE", name)
	}
	if err := (&nsq.ConfigFlag{Config: nsq.NewConfig()}).Set(option); err != nil {
		return err
	}
	*s = append(*s, option)
	return nil
}

// apply sets the options in cfg.
func (s *settings) apply(cfg *nsq.Config) error {
	for _, option := range *s {
		if err := (&nsq.ConfigFlag{Config: cfg}).Set(option); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the flag was given for an option.
func (s *settings) has(option string) bool {
	for _, o := range *s {
		if name, _ := cutName(o); strings.ReplaceAll(name, "-", "_") == option {
			return true
		}
	}
	return false
}

// cutName cuts an option's name off the beginning of what was given.
func cutName(option string) (name, rest string) {
	rest = strings.TrimLeft(option, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
	return option[:len(option)-len(rest)], rest
}

// flagError returns the error for flags that do not parse. It does not repeat what was
// given for --set and as a URL, which may have a secret in it.
func flagError(cmd *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag := invalid.GetFlag()
		_, isAddr := flag.Value.(*httpAddrsFlag)
		if _, isSetting := flag.Value.(*settings); isAddr || isSetting {
			return usage(cmd, "invalid argument for %q flag: %w", "--"+flag.Name, invalid.Unwrap())
		}
	}
	return usage(cmd, "%w", err)
}
