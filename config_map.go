package nsq

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
)

// SetMap sets all options of a map, such as a section of a configuration file. It accepts
// the names and values that [Config.Set] does. It sets all options or none: if some cannot
// be set, it changes nothing and returns their errors, joined and sorted by option name. It
// is an error if the map has an option twice, once with - and once with _. Like Set, SetMap
// does not check whether options contradict each other: [Config.Validate] does.
//
// It panics if the Config was not made by [NewConfig].
func (c *Config) SetMap(options map[string]any) error {
	faults := map[string]error{}
	named := make(map[string]any, len(options))
	for _, given := range slices.Sorted(maps.Keys(options)) {
		name := strings.ReplaceAll(given, "-", "_")
		if _, twice := named[name]; twice {
			faults[name] = fmt.Errorf("option %s is given twice", name)
		}
		named[name] = options[given]
	}
	return c.setAll(named, faults, func(_ string, err error) error { return err })
}

// SetEnv sets options from environment variables. With the prefix "NSQ" or "NSQ_",
// NSQ_MAX_IN_FLIGHT sets max_in_flight. An empty variable counts as not set. SetEnv sets all
// options or none, as [Config.SetMap] does. Each error names its variable, and no error
// shows the value of auth_secret.
//
// SetEnv ignores variables that name no option, such as NSQ_LOOKUPD_ADDR, because they may
// belong to the program or to others. But if a variable differs from an option's only by
// one letter, by underscores, or by upper and lower case, SetEnv takes it for a typo, as in
// NSQ_MAX_INFLIGHT, and returns an error that names the variable that was probably meant.
//
// Options that take no text, such as logger and tls_config, cannot be set. An empty prefix
// is an error: the HOSTNAME that most shells set would set the option hostname.
//
// It panics if the Config was not made by [NewConfig].
func (c *Config) SetEnv(prefix string) error {
	c.mustBeInitialized()
	prefix = strings.TrimSuffix(prefix, "_") + "_"
	if prefix == "_" {
		return errors.New("options from the environment: empty prefix")
	}
	variable := func(option string) string { return prefix + strings.ToUpper(option) }
	names := c.textOptions()
	faults, found := map[string]error{}, map[string]any{}
	for _, entry := range os.Environ() {
		given, value, _ := strings.Cut(entry, "=")
		name, ok := strings.CutPrefix(given, prefix)
		if !ok || value == "" {
			continue
		}
		option := strings.ToLower(name)
		i := slices.IndexFunc(names, func(known string) bool { return misspelt(option, known) })
		switch {
		case i < 0:
		case variable(option) == given && slices.Contains(names, option):
			found[option] = value
		default:
			faults[option] = fmt.Errorf("%s: no option has this name: set %s, or rename the variable", given, variable(names[i]))
		}
	}
	return c.setAll(found, faults, func(option string, err error) error {
		return fmt.Errorf("%s: %w", variable(option), err)
	})
}

// setAll sets options, unless there are faults already or one of the options cannot be
// set. It returns all faults, sorted by name. describe adds to the error of an option.
func (c *Config) setAll(options map[string]any, faults map[string]error, describe func(string, error) error) error {
	c.mustBeInitialized()
	edited := *c
	_, cert := options["tls_cert"]
	if _, key := options["tls_key"]; cert && key { // a new pair: neither file goes with an old one
		edited.tlsCertFile, edited.tlsKeyFile = "", ""
	}
	set := func(name string) {
		if err := edited.Set(name, options[name]); err != nil {
			faults[name] = describe(name, err)
		}
	}
	const first = "tls_config" // the other tls_ options edit it
	if _, ok := options[first]; ok {
		set(first)
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if name != first {
			set(name)
		}
	}
	if len(faults) > 0 {
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(faults)) {
			errs = append(errs, faults[name])
		}
		return errors.Join(errs...)
	}
	*c = edited
	c.BackoffStrategy = bindStrategy(c.BackoffStrategy, &c.BackoffMultiplier)
	return nil
}

// textOptions returns the names of the options that can be set from text.
func (c *Config) textOptions() []string {
	names := slices.Collect(maps.Keys(tlsOptions))
	for field := range c.options() {
		switch field.Type.Kind() {
		case reflect.Func, reflect.Pointer, reflect.Slice:
		default:
			names = append(names, field.Tag.Get("opt"))
		}
	}
	return names
}

// misspelt reports whether a name equals that of an option, or differs from it only by
// underscores and one letter that is missing, extra, wrong or swapped with the next.
func misspelt(name, option string) bool {
	a, b := strings.ReplaceAll(name, "_", ""), strings.ReplaceAll(option, "_", "")
	if len(a) > len(b) {
		a, b = b, a
	}
	same := 0
	for same < len(a) && a[same] == b[same] {
		same++
	}
	a, b = a[same:], b[same:]
	switch {
	case len(b) == len(a)+1:
		return a == b[1:]
	case len(b) != len(a):
		return false
	case a == "" || a[1:] == b[1:]:
		return true
	}
	return a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
}
