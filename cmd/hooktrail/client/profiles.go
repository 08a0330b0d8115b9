package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	hooktrail "hooktrail/sdk/go"
)

// profiles is the file that keeps servers and keys.
type profiles struct {
	path     string
	Current  string             `yaml:"current,omitempty"`
	Profiles map[string]profile `yaml:"profiles,omitempty"`
}

type profile struct {
	URL    string           `yaml:"url,omitempty"`
	APIKey hooktrail.Secret `yaml:"api_key,omitempty"`
}

// profilesPath is where the file is: by the XDG rules where they are followed, else where the
// system keeps such files.
func profilesPath() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		var err error
		if dir, err = os.UserConfigDir(); err != nil {
			return "", fmt.Errorf("find the directory for profiles: %w", err)
		}
	}
	return filepath.Join(dir, "hooktrail", "config.yaml"), nil
}

// loadProfiles reads the file; one that does not exist is empty. It refuses one that others can
// read.
func loadProfiles() (*profiles, error) {
	path, err := profilesPath()
	if err != nil {
		return nil, err
	}
	p := &profiles{path: path, Profiles: map[string]profile{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the profiles: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, usage("%s holds keys and can be read by others (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the profiles: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		// The text of the error may hold a part of a key.
		return nil, usage("%s is not YAML of the form {current: NAME, profiles: {NAME: {url: …, api_key: …}}}", path)
	}
	if p.Profiles == nil {
		p.Profiles = map[string]profile{}
	}
	return p, nil
}

// save replaces the file as a whole.
func (p *profiles) save() error {
	content, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode the profiles: %w", err)
	}
	dir := filepath.Dir(p.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the profiles: %w", err)
	}
	file, err := os.CreateTemp(dir, ".config-*.yaml") // mode 0600
	if err != nil {
		return fmt.Errorf("keep the profiles: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("keep the profiles: %w", err)
	}
	if err := os.Rename(file.Name(), p.path); err != nil {
		return fmt.Errorf("keep the profiles: %w", err)
	}
	return nil
}

// find gives a profile that has to be there.
func (p *profiles) find(name string) (profile, error) {
	found, there := p.Profiles[name]
	if !there {
		return found, usage("there is no profile %q in %s; hooktrail profiles list shows them", name, p.path)
	}
	return found, nil
}

// Profiles are the commands about profiles.
type Profiles struct {
	List   profilesList   `cmd:"" help:"List profiles."`
	Set    profilesSet    `cmd:"" help:"Add or change a profile."`
	Use    profilesUse    `cmd:"" help:"Use a profile unless another is named."`
	Delete profilesDelete `cmd:"" help:"Delete a profile."`
}

// Help is shown with --help.
func (Profiles) Help() string {
	return "A profile keeps the URL of a server and an API key in\n$XDG_CONFIG_HOME/hooktrail/config.yaml. Flags and the environment are stronger.\n\n" +
		example("hooktrail profiles set production --url https://hooks.example.com", "hooktrail profiles use production")
}

type profilesList struct{ Format }

// Help is shown with --help.
func (profilesList) Help() string { return example("hooktrail profiles list") }

// Run lists.
func (c *profilesList) Run(s *Session) error {
	stored, err := loadProfiles()
	if err != nil {
		return err
	}
	type entry struct {
		Name    string `json:"name"`
		URL     string `json:"url"`
		HasKey  bool   `json:"has_key"`
		Current bool   `json:"current"`
	}
	entries, rows := []entry{}, [][]cell{}
	for _, each := range slices.Sorted(maps.Keys(stored.Profiles)) {
		p := stored.Profiles[each]
		entries = append(entries, entry{each, p.URL, p.APIKey != "", each == stored.Current})
		rows = append(rows, []cell{name(each), text("%s", p.URL), yesNo(p.APIKey != ""), yesNo(each == stored.Current)})
	}
	if c.json() {
		return json.NewEncoder(s.Out).Encode(map[string]any{"data": entries})
	}
	return printTable(s.Out, s.colourful(), []string{"NAME", "URL", "KEY", "CURRENT"}, rows)
}

type profilesSet struct {
	Name       string `arg:"" help:"Name of the profile."`
	URL        string `help:"Server to call." placeholder:"URL"`
	APIKeyFile string `help:"File with the API key, - for stdin; on a terminal you are asked." name:"api-key-file" placeholder:"FILE"`
}

// Help is shown with --help.
func (profilesSet) Help() string {
	return "What is not named stays as it was. The first profile becomes the current one.\n\n" +
		example("hooktrail profiles set prod --url https://hooks.example.com --api-key-file -")
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Run keeps.
func (c *profilesSet) Run(s *Session) error {
	if !profileName.MatchString(c.Name) {
		return usage("a profile's name is of letters, digits, dots, dashes and underscores")
	}
	stored, err := loadProfiles()
	if err != nil {
		return err
	}
	p, existed := stored.Profiles[c.Name]
	switch {
	case c.URL != "":
		if _, err := hooktrail.New(hooktrail.Options{BaseURL: c.URL, APIKey: "unused"}); err != nil {
			return usage("--url must be an absolute http or https URL without a password, such as https://hooks.example.com")
		}
		p.URL = c.URL
	case !existed:
		return usage("a new profile needs --url")
	}
	switch {
	case c.APIKeyFile != "":
		if p.APIKey, err = s.readSecret(c.APIKeyFile); err != nil {
			return err
		}
	case !existed && s.interactive():
		if p.APIKey, err = s.ask("API key (not shown, empty for none): "); err != nil {
			return err
		}
	}
	stored.Profiles[c.Name] = p
	if stored.Current == "" {
		stored.Current = c.Name
	}
	if err := stored.save(); err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "profile %s is kept in %s; try it with: hooktrail whoami --profile %s\n", c.Name, stored.path, c.Name)
	return nil
}

type profilesUse struct {
	Name string `arg:"" help:"Name of the profile."`
}

// Help is shown with --help.
func (profilesUse) Help() string { return example("hooktrail profiles use production") }

// Run switches.
func (c *profilesUse) Run(s *Session) error {
	stored, err := loadProfiles()
	if err != nil {
		return err
	}
	p, err := stored.find(c.Name)
	if err != nil {
		return err
	}
	stored.Current = c.Name
	if err := stored.save(); err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "commands go to %s from now on\n", p.URL)
	return nil
}

type profilesDelete struct {
	Name string `arg:"" help:"Name of the profile."`
	Confirmation
}

// Help is shown with --help.
func (profilesDelete) Help() string { return example("hooktrail profiles delete staging --yes") }

// Run deletes.
func (c *profilesDelete) Run(s *Session) error {
	stored, err := loadProfiles()
	if err != nil {
		return err
	}
	if _, err := stored.find(c.Name); err != nil {
		return err
	}
	if err := s.confirm(c.Confirmation, "Delete profile %s and its key?", c.Name); err != nil {
		return err
	}
	delete(stored.Profiles, c.Name)
	if stored.Current == c.Name {
		stored.Current = ""
	}
	if err := stored.save(); err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "profile %s is deleted\n", c.Name)
	return nil
}
