package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/holdfast-backup/holdfast"
)

const envPrefix = "HOLDFAST_"

// serviceLink matches the variables that Kubernetes sets for a service that is
// called holdfast. Nobody who deploys it there wrote them.
var serviceLink = regexp.MustCompile(`^HOLDFAST_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_.*)?)$`)

// Load reads the file and the environment. The file is path when it is not
// empty, and must exist then; else $HOLDFAST_STATE/holdfast.yaml, else
// /etc/holdfast/holdfast.yaml, and none at all is no error. Load does not
// validate, so that flags can be put in first.
func Load(path string) (Config, error) {
	path, err := find(path)
	if err != nil {
		return Config{}, err
	}
	k := koanf.New(".")
	if path != "" {
		if err := loadFile(k, path); err != nil {
			return Config{}, err
		}
	}
	if err := loadEnv(k); err != nil {
		return Config{}, err
	}
	c := Default()
	err = k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		Result:           &c,
		WeaklyTypedInput: true,
		ZeroFields:       true,
		ErrorUnused:      true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.TextUnmarshallerHookFunc(),
		),
	}})
	if err != nil {
		return Config{}, holdfast.Errorf(holdfast.CodeInvalid, "the configuration is not understood: %s", flatten(err)).
			WithHint("correct %s or the %s* variable of that name", orDefault(path), envPrefix)
	}
	return c, nil
}

// find returns the file to read, or "".
func find(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	state := os.Getenv(envPrefix + "STATE")
	for _, p := range []string{filepath.Join(state, fileName), DefaultFile} {
		if !filepath.IsAbs(p) {
			continue // no state directory is set
		}
		_, err := os.Stat(p)
		switch {
		case err == nil:
			return p, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", holdfast.Wrap(holdfast.CodeForbidden, err, "%s cannot be read", p).WithHint("let this user read it, or name another file with --config")
		}
	}
	return "", nil
}

func loadFile(k *koanf.Koanf, path string) error {
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be read: %v", path, pe.Err).WithHint("name a readable file with --config")
		}
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s is not valid YAML: %s", path, flatten(err))
	}
	known := keys(reflect.TypeFor[Config](), "")
	for _, key := range k.Keys() {
		switch key {
		case "token":
			return holdfast.Errorf(holdfast.CodeInvalid, "%s holds a token", path).
				WithHint("a token does not belong in a file that others may read: use HOLDFAST_TOKEN or --token-file")
		case "s3.secret_key", "s3.session_token", "worker.maintenance_secret_key":
			return holdfast.Errorf(holdfast.CodeInvalid, "%s holds the secret %s", path, key).
				WithHint("it does not belong in a file that others may read: use %s", envName(key))
		}
		// An empty section, such as "worker:", is a key that is a known one's prefix.
		if k.Get(key) == nil {
			k.Delete(key) // an empty section or value says nothing
		}
		if !slices.ContainsFunc(known, func(s string) bool { return s == key || strings.HasPrefix(s, key+".") }) {
			return holdfast.Errorf(holdfast.CodeInvalid, "%s: key %q is unknown", path, key).WithHint("the keys are %s", list(known))
		}
	}
	return nil
}

func loadEnv(k *koanf.Koanf) error {
	known := keys(reflect.TypeFor[Config](), "")
	names := map[string]string{}
	for _, key := range known {
		names[envName(key)] = key
	}
	unknown := ""
	err := k.Load(env.Provider(".", env.Opt{
		Prefix: envPrefix,
		TransformFunc: func(name, value string) (string, any) {
			key, ok := names[name]
			if !ok {
				if !serviceLink.MatchString(name) && (unknown == "" || name < unknown) {
					unknown = name
				}
				return "", nil
			}
			if key == "worker.restore_roots" || key == "worker.etl_roots" {
				return key, split(value)
			}
			return key, value
		},
	}), nil)
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if unknown != "" {
		all := make([]string, 0, len(known))
		for _, key := range known {
			all = append(all, envName(key))
		}
		return holdfast.Errorf(holdfast.CodeInvalid, "environment variable %s is unknown", unknown).WithHint("the variables are %s", list(all))
	}
	return nil
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// split cuts a list from the environment; an empty variable is an empty list.
func split(value string) []string {
	out := []string{}
	for v := range strings.SplitSeq(value, string(filepath.ListSeparator)) {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// keys returns the names of every setting below t, sorted.
func keys(t reflect.Type, prefix string) []string {
	var out []string
	for f := range t.Fields() {
		name := prefix + f.Tag.Get("koanf")
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[holdfast.Secret]() {
			out = append(out, keys(f.Type, name+".")...)
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func list(words []string) string {
	slices.Sort(words)
	return strings.Join(words, ", ")
}

// flatten makes one line of a decoder's message.
func flatten(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func orDefault(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}
