package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// profileAnnotation is the annotation of flags that get their value from a profile if they
// are not given. Its value is the key.
const profileAnnotation = "rdy_profile"

// fromProfile marks flags as those that get their value from the environment or a profile if
// they are not given. Their names are the profile's keys, with "-" for "_".
func fromProfile(f *pflag.FlagSet, flags ...string) {
	for _, name := range flags {
		_ = f.SetAnnotation(name, profileAnnotation, []string{strings.ReplaceAll(name, "-", "_")}) // fails without the flag
	}
}

// profileKeyOf returns the key of a flag that fromProfile has marked, otherwise "".
func profileKeyOf(f *pflag.Flag) string {
	if key := f.Annotations[profileAnnotation]; len(key) > 0 {
		return key[0]
	}
	return ""
}

// effective are the settings that hold for a command, merged from its flags, the environment
// and a profile.
type effective struct {
	k       *koanf.Koanf
	from    map[string]string // by key, where it is from
	profile string            // the name; empty for none
	file    *profileFile
}

// effective returns the settings that hold with some flags: those of the flags, or else of
// the environment, or else of the profile. A profile that --profile names comes before the
// environment.
func (a *app) effective(f *pflag.FlagSet) (*effective, error) {
	file, err := readProfiles()
	if err != nil {
		return nil, err
	}
	e := &effective{k: koanf.New(keyDelimiter), from: make(map[string]string), file: file}
	named := f.Changed("profile")
	if e.profile = a.profile; !named {
		e.profile = file.inUse()
	}
	profile, err := file.profile(e.profile)
	if err != nil {
		return nil, err
	}
	environment, err := environmentSettings()
	if err != nil {
		return nil, err
	}
	given := koanf.New(keyDelimiter)
	if err := given.Load(posflag.ProviderWithFlag(f, keyDelimiter, nil, flagSetting), nil); err != nil {
		return nil, err
	}
	layers := []func() error{
		func() error { return e.add(profile, func(string) string { return "profile " + e.profile }) },
		func() error { return e.add(environment, envOrigin) },
	}
	if named {
		slices.Reverse(layers)
	}
	layers = append(layers, func() error {
		return e.add(given, func(key string) string { return "--" + strings.ReplaceAll(key, "_", "-") })
	})
	for _, add := range layers {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// inUse returns the name of the profile that holds without --profile.
func (f *profileFile) inUse() string {
	if name := os.Getenv(profileEnv); name != "" {
		return name
	}
	return f.k.String(useKey)
}

// add adds settings over those that are there. The addresses of a layer replace all
// addresses, and a secret replaces the other way of giving it.
func (e *effective) add(layer *koanf.Koanf, origin func(key string) string) error {
	e.displace(layer, addressKeys)
	e.displace(layer, []string{secretFileKey, secretOption, setKey + keyDelimiter + secretOption})
	for _, key := range layer.Keys() {
		top, _, _ := strings.Cut(key, keyDelimiter)
		e.from[key] = origin(top)
	}
	return e.k.Merge(layer)
}

// displace deletes some settings if the layer has any of them.
func (e *effective) displace(layer *koanf.Koanf, keys []string) {
	if !slices.ContainsFunc(keys, layer.Exists) {
		return
	}
	for _, key := range keys {
		e.k.Delete(key)
	}
}

// values returns the values of a setting, as a flag takes them.
func (e *effective) values(key string) []string {
	if key != setKey {
		if text, ok := e.k.Get(key).(string); ok {
			return []string{text}
		}
		return e.k.Strings(key)
	}
	var all []string
	for _, option := range e.k.MapKeys(setKey) {
		all = append(all, option+","+e.k.String(setKey+keyDelimiter+option))
	}
	return all
}

// environmentSettings returns the settings of the environment. An error does not show a
// value: there may be a password in it.
func environmentSettings() (*koanf.Koanf, error) {
	known := map[string]profileKey{}
	for _, key := range profileKeys {
		known[envName(key.name)] = key
	}
	var failed error
	k := koanf.New(keyDelimiter)
	err := k.Load(env.Provider(keyDelimiter, env.Opt{Prefix: "RDY_", TransformFunc: func(name, value string) (string, any) {
		if name == secretEnv && value != "" {
			return secretOption, value
		}
		key, ok := known[name]
		values := []string{value}
		if key.list {
			values = splitList(value)
		}
		if !ok || value == "" || len(values) == 0 {
			return "", nil
		}
		for _, v := range values {
			if err := key.check(v); err != nil {
				failed = fmt.Errorf("%s: %w", envOrigin(key.name), err)
			}
		}
		if key.list {
			return key.name, values
		}
		return key.name, value
	}}), nil)
	if failed != nil {
		err = failed
	}
	if k.Exists(secretFileKey) {
		k.Delete(secretOption) // as with --auth-secret-file
	}
	return k, err
}

func envName(key string) string   { return "RDY_" + strings.ToUpper(key) }
func envOrigin(key string) string { return "environment variable " + envName(key) }

// splitList returns the parts of a list with commas that are not empty.
func splitList(s string) []string {
	var all []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// flagSetting returns the setting of a flag that was given, for package posflag.
func flagSetting(f *pflag.Flag) (string, any) {
	if key := profileKeyOf(f); key != "" && f.Changed {
		return key, settingValue(f.Value)
	}
	return "", nil
}

// settingValue returns the value of a flag in the form of settings.
func settingValue(value pflag.Value) any {
	switch v := value.(type) {
	case *httpAddrsFlag:
		return slices.Clone([]string(*v))
	case *addrsFlag:
		return slices.Clone([]string(*v))
	case *settings:
		options := make(map[string]any)
		for _, option := range *v {
			name, rest := cutName(option)
			value, found := strings.CutPrefix(rest, ",")
			if !found {
				value = "true"
			}
			options[strings.ReplaceAll(name, "-", "_")] = value
		}
		return options
	}
	return value.String()
}

// settle gives the flags that were not given the values of the environment or the profile.
// Commands without such flags do not read the profiles.
func (a *app) settle(cmd *cobra.Command) error {
	marked := make(map[string]*pflag.Flag)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if key := profileKeyOf(f); key != "" {
			marked[key] = f
		}
	})
	if len(marked) == 0 || a.noProfile {
		return nil
	}
	e, err := a.effective(cmd.Flags())
	if err != nil {
		return usage(cmd, "%s", oneLine(err))
	}
	for _, key := range slices.Sorted(maps.Keys(marked)) {
		if err := e.fill(key, marked); err != nil {
			return usage(cmd, "%s: %s", e.from[key], oneLine(err))
		}
	}
	return nil
}

// fill gives a flag the values of its setting. A command that finds nsqds by nsqlookupds
// leaves those of a profile alone that are there for other commands: they are the same nsqds,
// perhaps by other addresses.
func (e *effective) fill(key string, marked map[string]*pflag.Flag) error {
	f := marked[key]
	if options, ok := f.Value.(*settings); ok {
		*options = slices.Concat(e.further(*options), *options)
		return nil
	}
	if f.Changed || key == nsqdKey && marked[lookupdKey] != nil && e.k.Exists(lookupdKey) {
		return nil
	}
	for _, v := range e.values(key) {
		if err := f.Value.Set(v); err != nil {
			return err
		}
	}
	return nil
}

// further returns the options that hold besides those that were given.
func (e *effective) further(given settings) (all settings) {
	for _, option := range e.values(setKey) {
		if name, _ := cutName(option); !given.has(name) {
			all = append(all, option)
		}
	}
	return all
}
