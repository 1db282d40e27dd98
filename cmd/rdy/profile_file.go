package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/toml/v2"
	fileprovider "github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	gotoml "github.com/pelletier/go-toml/v2"
	"github.com/rdyhq/nsq/cmd/rdy/internal/figures"
)

const (
	// The environment variables for profiles.
	configEnv  = "RDY_CONFIG"
	profileEnv = "RDY_PROFILE"

	// keyDelimiter separates the parts of a key of package koanf. No name has it.
	keyDelimiter = "/"

	// Keys of the file.
	useKey      = "use"
	profilesKey = "profile"
)

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// profileKey is a setting of a profile.
type profileKey struct {
	name  string // also that of the flag, with "-" for "_", and of the environment variable
	list  bool   // there may be several values
	check func(string) error
}

const (
	lookupdKey    = "lookupd"
	nsqdKey       = "nsqd"
	nsqdHTTPKey   = "nsqd_http"
	timeoutKey    = "timeout"
	secretFileKey = "auth_secret_file"
	setKey        = "set" // a table of options of nsq.Config
)

var profileKeys = []profileKey{
	{lookupdKey, true, func(s string) error { return new(httpAddrsFlag).Set(s) }},
	{nsqdKey, true, func(s string) error { return new(addrsFlag).Set(s) }},
	{nsqdHTTPKey, true, func(s string) error { return new(httpAddrsFlag).Set(s) }},
	{timeoutKey, false, func(s string) error {
		return durationFlag(new(time.Duration), minRequestTimeout, maxRequestTimeout).Set(s)
	}},
	{secretFileKey, false, func(s string) error {
		if s == "" {
			return errors.New("want the name of a file")
		}
		return nil
	}},
}

// addressKeys are the settings that name a cluster. They come from one place: parts of two
// clusters are never mixed.
var addressKeys = []string{lookupdKey, nsqdKey, nsqdHTTPKey}

// profileFile is the file with the profiles.
type profileFile struct {
	path   string
	noPath error // why there is no path
	k      *koanf.Koanf
}

// readProfiles reads the file. A file that does not exist is one without profiles.
func readProfiles() (*profileFile, error) {
	f := &profileFile{k: koanf.New(keyDelimiter)}
	if f.path, f.noPath = configPath(); f.noPath != nil {
		return f, nil
	}
	err := f.k.Load(fileprovider.Provider(f.path), toml.Parser())
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if syntax, ok := errors.AsType[*gotoml.DecodeError](err); ok {
		line, _ := syntax.Position()
		return nil, fmt.Errorf("%s, line %d: %s", f.path, line, strings.TrimPrefix(syntax.Error(), "toml: "))
	}
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", f.path, err)
	}
	return f, nil
}

func configPath() (string, error) {
	if path := os.Getenv(configEnv); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for the configuration file; name one with %s: %w", configEnv, err)
	}
	return filepath.Join(dir, "rdy", "config.toml"), nil
}

// check returns an error that names the first thing in the file that is wrong.
func (f *profileFile) check() error {
	raw := f.k.Raw()
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if key != useKey && key != profilesKey {
			return fmt.Errorf("unknown key %q, want %s or %s", key, useKey, profilesKey)
		}
	}
	if use, ok := raw[useKey]; ok {
		if _, isString := use.(string); !isString {
			return fmt.Errorf("%s: want the name of a profile", useKey)
		}
	}
	profiles, isTable := raw[profilesKey].(map[string]any)
	if raw[profilesKey] != nil && !isTable {
		return fmt.Errorf("%s: want tables such as [%s.staging]", profilesKey, profilesKey)
	}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		if !profileName.MatchString(name) {
			return fmt.Errorf("invalid profile name %q: want %s", name, profileNameRule)
		}
		table, isTable := profiles[name].(map[string]any)
		if !isTable {
			return fmt.Errorf("profile %s: want a table [%s.%s]", name, profilesKey, name)
		}
		if _, err := normalize(table); err != nil {
			return fmt.Errorf("profile %s: %w", name, err)
		}
	}
	return nil
}

const profileNameRule = "1 to 64 letters, digits, '.', '_' or '-', with a letter or digit first"

// normalize checks a profile and returns it with a []string for each list, and a string for
// each other value.
func normalize(table map[string]any) (map[string]any, error) {
	n := make(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if name == setKey {
			options, err := normalizeOptions(table[name])
			if err != nil {
				return nil, err
			}
			n[name] = options
			continue
		}
		i := slices.IndexFunc(profileKeys, func(k profileKey) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown key %q, want %s", name, strings.Join(profileKeyNames(), ", "))
		}
		values, err := texts(table[name], profileKeys[i].list)
		for _, v := range values {
			err = errors.Join(err, profileKeys[i].check(v))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if profileKeys[i].list {
			n[name] = values
		} else {
			n[name] = values[0]
		}
	}
	return n, nil
}

func profileKeyNames() []string {
	var all []string
	for _, k := range profileKeys {
		all = append(all, k.name)
	}
	return append(all, setKey)
}

// texts returns a string, or the strings of a list.
func texts(v any, list bool) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case []string:
		if list {
			return v, nil
		}
	case []any:
		var all []string
		for _, one := range v {
			text, ok := one.(string)
			if !ok {
				return nil, fmt.Errorf("want strings in quotes, not %v", one)
			}
			all = append(all, text)
		}
		if list {
			return all, nil
		}
	}
	if list {
		return nil, errors.New(`want a list of strings in quotes, such as ["nsqd-1:4150"]`)
	}
	return nil, errors.New("want a string in quotes")
}

// fileOptions are the options of nsq.Config that name a file. It is read when a command uses
// the profile.
var fileOptions = []string{"tls_root_ca_file", "tls_cert", "tls_key"}

// normalizeOptions checks options of nsq.Config. The secret for AUTH is not among them: files
// with it should hold nothing else.
func normalizeOptions(v any) (map[string]any, error) {
	table, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: want a table of options, such as snappy = true", setKey)
	}
	n := make(map[string]any)
	for _, option := range slices.Sorted(maps.Keys(table)) {
		switch table[option].(type) {
		case string, bool, int64, float64:
		default:
			return nil, fmt.Errorf("%s: option %s: want a string, number or boolean", setKey, option)
		}
		value := fmt.Sprint(table[option])
		name := strings.ReplaceAll(option, "-", "_")
		n[name] = value
		var err error
		switch {
		case name == secretOption:
			err = fmt.Errorf("keep the secret in a file of its own, and name the file with %s", secretFileKey)
		case !slices.Contains(fileOptions, name):
			err = new(settings).Set(option + "," + value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: option %s: %w", setKey, option, err)
		}
	}
	return n, nil
}

// names returns the names of all profiles.
func (f *profileFile) names() []string { return f.k.MapKeys(profilesKey) }

// profile returns the settings of a profile. An empty name stands for no profile.
func (f *profileFile) profile(name string) (*koanf.Koanf, error) {
	p := koanf.New(keyDelimiter)
	if name == "" {
		return p, nil
	}
	if !slices.Contains(f.names(), name) {
		known := "there is none"
		if len(f.names()) > 0 {
			known = "there are " + figures.List(f.names())
		}
		return nil, fmt.Errorf("no profile %q in %s: %s", name, f.path, known)
	}
	n, err := normalize(f.k.Cut(profilesKey + keyDelimiter + name).Raw())
	if err != nil {
		return nil, err
	}
	for key, value := range n {
		if err := p.Set(key, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// save writes the file. Whenever the machine stops, the file is the old one or the new one.
// Only its owner can read it.
func (f *profileFile) save() error {
	if f.noPath != nil {
		return f.noPath
	}
	data, err := f.k.Marshal(toml.Parser())
	if err != nil {
		return err
	}
	path := f.path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays a link
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".rdy-config-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return err
	}
	return syncDir(dir)
}
