package client

import (
	"context"
	"strings"
	"time"

	hooktrail "hooktrail/sdk/go"
)

// KeysList lists API keys.
type KeysList struct {
	Paging
	Server
	Format
}

// Help is shown with --help.
func (KeysList) Help() string { return example("hooktrail keys list") }

// Run lists.
func (c *KeysList) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		head := []string{"ID", "NAME", "KEY", "CREATED", "EXPIRES", "SCOPES"}
		return showList(s, c.Format, c.Paging, head, func(k hooktrail.APIKey) []cell {
			return []cell{text("%s", k.ID), name(k.Name), prefix(k.Prefix), ago(&k.CreatedAt, ""), ago(k.ExpiresAt, "never"), text("%s", strings.Join(k.Scopes, ","))}
		}, func(part hooktrail.ListOptions, option hooktrail.RequestOption) (*hooktrail.List[hooktrail.APIKey], error) {
			return connected.APIKeys.List(ctx, hooktrail.ListAPIKeys{ListOptions: part}, option)
		})
	})
}

func keyFields(k hooktrail.APIKey) []field {
	return []field{
		{"Id", text("%s", k.ID)},
		{"Name", text("%s", k.Name)},
		{"Key", prefix(k.Prefix)},
		{"Scopes", text("%s", strings.Join(k.Scopes, ", "))},
		{"Created", moment(&k.CreatedAt, "")},
		{"Expires", moment(k.ExpiresAt, "never")},
	}
}

// KeysCreate makes an API key.
type KeysCreate struct {
	Name      string        `help:"Name to show." required:"" placeholder:"NAME"`
	Scope     []string      `help:"What it may do; again, or with commas, for more." required:"" placeholder:"SCOPE"`
	ExpiresIn time.Duration `help:"How long it is valid; default is for ever." placeholder:"720h"`
	Server
	Format
}

// Help is shown with --help.
func (KeysCreate) Help() string {
	return "Scopes: webhook_triggers:read and :write; agents:read, :write and :execute;\nexecutions:read and :write; events:read; admin, which is all.\n\n" +
		example("hooktrail keys create --name CI --scope agents:read,agents:execute")
}

// Validate is called by the parser.
func (c KeysCreate) Validate() error {
	if c.ExpiresIn < 0 {
		return usage("--expires-in must be a time to come")
	}
	return nil
}

// Run creates.
func (c *KeysCreate) Run(s *Session) error {
	request := hooktrail.CreateAPIKey{Name: c.Name, Scopes: c.Scope}
	if c.ExpiresIn > 0 {
		request.ExpiresAt = new(time.Now().Add(c.ExpiresIn).UTC().Truncate(time.Second))
	}
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, func(k hooktrail.IssuedAPIKey) error {
			return s.printFields(append(keyFields(k.APIKey), field{"New key", text("%s", string(k.Key))}))
		}, func(option hooktrail.RequestOption) (*hooktrail.IssuedAPIKey, error) {
			return connected.APIKeys.Create(ctx, request, option)
		})
		if err != nil {
			return err
		}
		s.shownOnce("the key")
		return nil
	})
}

// KeysDelete revokes an API key.
type KeysDelete struct {
	ID string `arg:"" help:"Id of the key."`
	Confirmation
	Server
}

// Help is shown with --help.
func (KeysDelete) Help() string { return example("hooktrail keys delete $KEY_ID --yes") }

// Run revokes.
func (c *KeysDelete) Run(s *Session) error {
	return s.end(c.Server, c.Confirmation, "Revoke API key %s? Whoever uses it is locked out at once.", "API key %s is revoked", c.ID, func(ctx context.Context, connected *hooktrail.Client) error {
		return connected.APIKeys.Delete(ctx, c.ID)
	})
}

// Whoami shows the key that is used and what it may do.
type Whoami struct {
	Server
	Format
}

// Help is shown with --help.
func (Whoami) Help() string { return example("hooktrail whoami --profile production") }

// Run shows.
func (c *Whoami) Run(s *Session) error {
	return s.with(c.Server, func(ctx context.Context, connected *hooktrail.Client) error {
		_, err := show(s, c.Format, func(me hooktrail.Me) error {
			return s.printFields(append([]field{
				{"Server", text("%s (%s)", s.url, s.urlFrom)},
				{"Workspace", text("%s", me.WorkspaceID)},
				{"Actor", text("%s", me.Actor)},
				{"Key from", text("%s", s.keyFrom)},
			}, keyFields(me.APIKey)...))
		}, func(option hooktrail.RequestOption) (*hooktrail.Me, error) { return connected.Me(ctx, option) })
		return err
	})
}
