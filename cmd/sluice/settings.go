package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/internal/profile"
)

// A setting is named SLUICE_SOMETHING. It comes from, in this order: its flag, the environment, the file of --config, the
// profile, its default.
const (
	settingAPIURL     = "SLUICE_API_URL"
	settingAPIKey     = "SLUICE_API_KEY"
	settingCAFile     = "SLUICE_API_CA_FILE"
	settingFirstToken = "SLUICE_BOOTSTRAP_TOKEN"
	settingPython     = "SLUICE_PYTHON"
	// settingSecretsKey has no flag: command lines are seen by all users of a machine.
	settingSecretsKey = "SLUICE_SECRETS_KEY"

	defaultAPIURL = "http://127.0.0.1:4200/api"
)

// settingAnnotation marks the flags that are settings, with the setting's name.
const settingAnnotation = "sluice_setting"

// definition is a setting that a profile may hold.
type definition struct {
	fallback string
	about    string
	secret   bool
}

// plainSettings are the settings without a flag; flags marked with bindSetting add theirs.
var plainSettings = map[string]definition{
	settingAPIKey:          {about: "key sent to the API", secret: true},
	settingSecretsKey:      {about: "keys that encrypt secrets in blocks, instead of a file; separated by commas", secret: true},
	settingCAFile:          {about: "file with the certificate that signs the API's, if the machine does not trust it anyway"},
	settingPython:          {fallback: "python3", about: "interpreter that runs flows"},
	settingFirstToken:      {about: "first token of a new cluster, the same on all nodes; see --bootstrap-token-file", secret: true},
	"SLUICE_BINARY":        {fallback: "sluice", about: "binary that the Python SDK starts for an ephemeral server"},
	"SLUICE_LOGGING_LEVEL": {fallback: "INFO", about: "lowest level that flows log"},
}

// bindSetting makes a flag also an environment variable, a key of the --config file and of profiles.
func bindSetting(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		setting := "SLUICE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if name == "api" {
			setting = settingAPIURL
		}
		flag := flags.Lookup(name)
		if flag.Annotations == nil {
			flag.Annotations = map[string][]string{}
		}
		flag.Annotations[settingAnnotation] = []string{setting}
		flag.Usage += " (env " + setting + ")"
	}
}

// settings resolves settings for one command line.
type settings struct {
	environment map[string]string
	flags       map[string]string // set on the command line
	file        map[string]string
	filePath    string
	profiles    *profile.File
	profile     string
	known       map[string]definition
}

// loadSettings reads the profile and the --config file and gives every flag that was not set its value from them.
func (a *app) loadSettings(command *cobra.Command) error {
	all, err := profile.Read(filepath.Join(a.home(), profile.Name))
	if err != nil {
		return usagef("%w", err)
	}
	s := &settings{
		environment: a.environment,
		flags:       map[string]string{},
		profiles:    all,
		profile:     firstOf(a.profile, a.environment["SLUICE_PROFILE"], all.Active),
		known:       knownSettings(command.Root()),
	}
	a.settings = s
	if s.filePath = firstOf(a.configFile, a.environment["SLUICE_CONFIG"]); s.filePath != "" {
		if s.file, err = readConfigFile(s.filePath, s.known); err != nil {
			return err
		}
	}
	var problems []error
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		names := flag.Annotations[settingAnnotation]
		if len(names) == 0 {
			return
		}
		if flag.Changed {
			s.flags[names[0]] = flag.Value.String()
			return
		}
		value, source := s.lookup(names[0])
		if source == sourceDefault {
			return
		}
		if err := flag.Value.Set(value); err != nil {
			problems = append(problems, usagef("%s is %q (from %s): %v", names[0], value, source, err))
		}
	})
	return errors.Join(problems...)
}

// requireProfile refuses a profile that does not exist. Only config set may make one.
func (s *settings) requireProfile() error {
	if s.profiles.Sections[s.profile] != nil {
		return nil
	}
	names := slices.Sorted(maps.Keys(s.profiles.Sections))
	return notFoundf("sluice config set --profile "+s.profile+" SLUICE_API_URL=http://HOST:4200/api",
		"there is no profile '%s'; there are: %s", s.profile, strings.Join(names, ", "))
}

const sourceDefault = "defaults"

// lookup returns a setting and where it comes from. Empty environment variables count as unset.
func (s *settings) lookup(name string) (value, source string) {
	value, source = s.given(name)
	if name == settingAPIURL {
		value = withAPIPath(value)
	}
	return value, source
}

// tell returns all settings and their sources for others to read: what is secret is only said to be set.
func (s *settings) tell() map[string]node.Setting {
	all := make(map[string]node.Setting, len(s.known))
	for name, known := range s.known {
		value, source := s.lookup(name)
		if known.secret && value != "" {
			value = "(set, not shown)"
		}
		if name == settingAPIURL {
			value = withoutPasswords(value)
		}
		all[name] = node.Setting{Value: value, Source: source}
	}
	return all
}

// withoutPasswords hides the passwords that addresses may carry.
func withoutPasswords(list string) string {
	addresses := strings.Split(list, ",")
	for i, address := range addresses {
		if parsed, err := url.Parse(strings.TrimSpace(address)); err == nil {
			addresses[i] = parsed.Redacted()
		}
	}
	return strings.Join(addresses, ",")
}

// withAPIPath completes addresses that name only a server, like the one of its dashboard: everything of the API is below /api.
func withAPIPath(list string) string {
	addresses := strings.Split(list, ",")
	for i, address := range addresses {
		parsed, err := url.Parse(strings.TrimSpace(address))
		if err == nil && parsed.Host != "" && strings.Trim(parsed.Path, "/") == "" && parsed.RawQuery == "" && parsed.Fragment == "" {
			addresses[i] = strings.TrimRight(strings.TrimSpace(address), "/") + "/api"
		}
	}
	return strings.Join(addresses, ",")
}

func (s *settings) given(name string) (value, source string) {
	if value, set := s.flags[name]; set {
		return value, "flag"
	}
	if value := s.environment[name]; value != "" {
		return value, "env"
	}
	if value, set := s.file[name]; set {
		return value, s.filePath
	}
	if value, set := s.profiles.Sections[s.profile][name]; set {
		return value, "profile"
	}
	return s.known[name].fallback, sourceDefault
}

// knownSettings collects what may be set, from the flags of the whole command tree.
func knownSettings(root *cobra.Command) map[string]definition {
	known := maps.Clone(plainSettings)
	add := func(flag *pflag.Flag) {
		if names := flag.Annotations[settingAnnotation]; len(names) > 0 {
			about, _, _ := strings.Cut(flag.Usage, " (env ")
			known[names[0]] = definition{fallback: strings.Trim(flag.DefValue, "[]"), about: about}
		}
	}
	var walk func(*cobra.Command)
	walk = func(command *cobra.Command) {
		command.PersistentFlags().VisitAll(add)
		command.LocalNonPersistentFlags().VisitAll(add)
		for _, child := range command.Commands() {
			walk(child)
		}
	}
	walk(root)
	return known
}

// readConfigFile reads a YAML file of settings: keys are names of flags or settings, in any case, with - or _.
func readConfigFile(path string, known map[string]definition) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("read --config: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		line, reason := yamlProblem(string(content), err)
		return nil, usagef("%s:%d: %s", path, line, reason)
	}
	values := map[string]string{}
	if len(document.Content) == 0 {
		return values, nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, usagef("%s:%d: expected lines of the form key: value", path, top.Line)
	}
	var problems []error
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		name := settingOfKey(key.Value)
		if _, ok := known[name]; !ok {
			problems = append(problems, usagef("%s:%d: unknown key '%s'%s", path, key.Line, key.Value, didYouMean(name, known)))
			continue
		}
		text, err := configValue(value)
		if err != nil {
			problems = append(problems, usagef("%s:%d: %s: %w", path, value.Line, key.Value, err))
			continue
		}
		values[name] = text
	}
	return values, errors.Join(problems...)
}

func settingOfKey(key string) string {
	name := strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
	if name == "API" {
		return settingAPIURL
	}
	if !strings.HasPrefix(name, "SLUICE_") {
		name = "SLUICE_" + name
	}
	return name
}

// configValue returns a scalar, or a list of scalars joined by commas.
func configValue(node *yaml.Node) (string, error) {
	switch node.Kind {
	case yaml.ScalarNode:
		return node.Value, nil
	case yaml.SequenceNode:
		var parts []string
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("a list may hold only plain values")
			}
			parts = append(parts, item.Value)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("expected a plain value or a list")
}

// didYouMean suggests the known setting that is nearest, if one is near.
func didYouMean(name string, known map[string]definition) string {
	best, distance := "", 4
	for _, candidate := range slices.Sorted(maps.Keys(known)) {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
