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

// SetMap sets all options of a map, such as a section of a configuration file. Names and
// values are those of [Config.Set]; the order of the map makes no difference. It sets all
// or none: if some cannot be set, it returns their errors, joined and sorted by the names
// of the options, and changes nothing. An option that the map has twice, with - and with
// _, is an error. Like Set, it leaves it to [Config.Validate] to find options that
// contradict each other.
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

// SetEnv sets options from the environment: NSQ_MAX_IN_FLIGHT sets max_in_flight if the
// prefix is "NSQ" or "NSQ_". It sets all or none, as [Config.SetMap] does; each error names
// its variable and none has the value of auth_secret. An empty variable counts as not set.
//
// Variables that name no option belong to the program or to others, as NSQ_LOOKUPD_ADDR
// may, and are left alone. But one that differs from an option by a single letter, by
// underscores, or by upper and lower case is taken for a typing error, as NSQ_MAX_INFLIGHT
// is: SetEnv returns an error that names the variable that was probably meant. Options
// that take no text, such as logger and tls_config, cannot be set. Neither does SetEnv
// accept an empty prefix: HOSTNAME, which most shells have, would set hostname.
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
// set. It returns all faults, sorted by name. describe completes the error of an option.
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

// textOptions returns the names of the options that take a text.
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

// misspelt reports whether a name is that of an option, or differs from it by no more than
// underscores and one letter, which is missing, extra, wrong or swapped with the next.
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
