package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/cmd/sluice/node"
	"github.com/sluice-dev/sluice/internal/localserver"
)

var tokenRoles = []string{api.RoleViewer, api.RoleAgent, api.RoleOperator, api.RoleDeployer, api.RoleAdmin}

func newTokenCommand(a *app) *cobra.Command {
	return group("token", "Make, list and revoke tokens",
		`Make, list and revoke tokens, with which people and programs call the API. Each has a role:

    viewer     reads everything that is not secret
    agent      executes flow runs, and sees the secrets in blocks
    operator   runs deployments, cancels and deletes runs, manages work queues and limits
    deployer   changes deployments, blocks and flow code, and sees secrets
    admin      does everything: tokens, audit, membership, snapshots

A role may do what those above it may, but for the secrets. A command sends the token in SLUICE_API_KEY.`,
		"  sluice token create ci --role deployer --expires 90d\n  sluice token ls",
		newTokenCreate(a), newTokenList(a), newTokenInspect(a), newTokenRevoke(a), newTokenGenerate(a), newTokenRecover(a))
}

func newTokenCreate(a *app) *cobra.Command {
	var role, expires, note string
	command := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print its secret, this once",
		Long:  "Make a token and print its secret, this once. The name says in states and audit records who acted.",
		Example: `  sluice token create ci --role deployer --expires 90d
  sluice token create laptop --role admin -q`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			until, err := parseExpiry(expires, time.Now())
			if err != nil {
				return err
			}
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			made, err := c.CreateToken(command.Context(), api.TokenCreate{Name: args[0], Role: role, Note: note, Expires: until})
			if err != nil {
				return err
			}
			switch {
			case a.structured():
				return a.printObject(made, made.ID.String(), made.Name)
			case a.quiet:
				fmt.Fprintln(a.out, made.Secret)
				return nil
			}
			a.say("Created token '%s' with the role %s. It is shown only here:\n\n    %s\n", made.Name, made.Role, made.Secret)
			a.say("Use it with:\n\n    sluice config set %s=%s", settingAPIKey, made.Secret)
			return nil
		},
	}
	command.Flags().StringVar(&role, "role", "", "what it may do: "+strings.Join(tokenRoles, ", "))
	command.Flags().StringVar(&expires, "expires", "", "when it ends: a time from now like 90d or 12h, or a date (default never)")
	command.Flags().StringVar(&note, "note", "", "what it is for")
	_ = command.MarkFlagRequired("role") // the flag exists
	completeWords(command, "role", tokenRoles...)
	return command
}

// parseExpiry reads a time from now or a date; nil is never.
func parseExpiry(text string, now time.Time) (*api.Time, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := parseSpan(text); err == nil && d > 0 {
		at := api.At(now.Add(d))
		return &at, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && t.After(now) {
			at := api.At(t)
			return &at, nil
		}
	}
	return nil, usagef("--expires is %q; it is a time from now like 90d or 12h, or a date to come like %s", text, now.AddDate(1, 0, 0).Format(time.DateOnly))
}

// parseSpan reads a duration; d is a day.
func parseSpan(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}

func newTokenList(a *app) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List tokens",
		Long:    "List the tokens that can be used, with --all also those that were revoked or have expired in the last 90 days.",
		Example: "  sluice token ls --all",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			tokens, err := c.FilterTokens(command.Context(), api.TokenFilterRequest{All: all})
			if err != nil {
				return err
			}
			return printList(a, tokenList(a, tokens))
		},
	}
	command.Flags().BoolVar(&all, "all", false, "also those that ended")
	return command
}

func tokenList(a *app, tokens []api.Token) list[api.Token] {
	when := func(t *api.Time, otherwise string) string {
		if t == nil {
			return otherwise
		}
		return a.stamp(*t)
	}
	return list[api.Token]{
		title: "Tokens",
		columns: []column[api.Token]{
			{header: "Name", cell: func(t api.Token, _ bool) string { return t.Name }},
			{header: "Role", cell: func(t api.Token, _ bool) string { return t.Role }},
			{header: "Status", cell: func(t api.Token, _ bool) string { return t.Status }},
			{header: "Expires", cell: func(t api.Token, _ bool) string { return when(t.Expires, "never") }},
			{header: "Last used", cell: func(t api.Token, _ bool) string { return when(t.LastUsed, "-") }},
			{header: "Made by", cell: func(t api.Token, _ bool) string { return t.CreatedBy }},
			{header: "ID", cell: func(t api.Token, _ bool) string { return t.ID.String() }},
		},
		items: tokens,
		id:    func(t api.Token) string { return t.ID.String() },
		name:  func(t api.Token) string { return t.Name },
	}
}

// findToken resolves a name, an id or the beginning of one. A name means the token that can be used.
func findToken(ctx context.Context, c *client.Client, ref string) (*api.Token, error) {
	all, err := c.FilterTokens(ctx, api.TokenFilterRequest{All: true})
	if err != nil {
		return nil, err
	}
	var found []api.Token
	for _, t := range all {
		if t.Name == ref && t.Status != api.TokenRevoked || t.ID.String() == ref {
			return &t, nil
		}
		if len(ref) >= 4 && strings.HasPrefix(t.ID.String(), ref) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return nil, notFoundf("sluice token ls --all", "there is no token '%s'", ref)
	case 1:
		return &found[0], nil
	}
	return nil, usagef("%d tokens have ids that begin with %s", len(found), ref)
}

func newTokenInspect(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect [TOKEN]",
		Short:   "Show a token as JSON, without its secret",
		Long:    "Show a token as JSON, without its secret; without an argument, as whom the commands of this profile call.",
		Example: "  sluice token inspect\n  sluice token inspect ci",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				who, err := c.WhoAmI(command.Context())
				if err != nil {
					return err
				}
				return a.printObject(who, who.Name, who.Name)
			}
			token, err := findToken(command.Context(), c, args[0])
			if err != nil {
				return err
			}
			return a.printObject(token, token.ID.String(), token.Name)
		},
	}
}

func newTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke TOKEN...",
		Short:   "Revoke tokens",
		Long:    "Revoke tokens, given by name or id: they are refused from now on, and so are the keys of flow runs made with them.",
		Example: "  sluice token revoke ci",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			var revoked []api.Token
			for _, ref := range args {
				token, err := findToken(command.Context(), c, ref)
				if err != nil {
					return err
				}
				if err := c.RevokeToken(command.Context(), token.ID); err != nil {
					return fmt.Errorf("revoke the token %s: %w", short(token.Name, token.ID), err)
				}
				a.say("Revoked token '%s'.", token.Name)
				revoked = append(revoked, *token)
			}
			if a.structured() {
				return printList(a, tokenList(a, revoked))
			}
			return nil
		},
	}
}

func newTokenGenerate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Print a new secret, for the first token of a new cluster",
		Long: `Print a new secret. Given to all nodes with --bootstrap-token-file before they found their cluster, it is the
cluster's first token. No server is asked.`,
		Example: "  sluice token generate > admin-token",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			secret := api.NewToken()
			if a.structured() {
				return a.printObject(map[string]string{"token": secret}, secret, secret)
			}
			_, err := fmt.Fprintln(a.out, secret)
			return err
		},
	}
}

// recoverPatience bounds the wait for a node to take notice.
const recoverPatience = 30 * time.Second

func newTokenRecover(a *app) *cobra.Command {
	var dir, name string
	command := &cobra.Command{
		Use:   "recover",
		Short: "Make a token of an admin on a node's own machine",
		Long: `Make a token with the role admin when no other is left: on the machine of a node that runs, as a user who may write its
data directory. Who may do that could change the data anyway.`,
		Example: "  sudo -u sluice sluice token recover --data-dir /var/lib/sluice/data",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if dir == "" {
				dir = filepath.Join(a.home(), "data")
			}
			f, err := readServerFile(dir)
			if err != nil || !localserver.Locked(dir, f.PID) {
				return &failure{code: exitUnreachable, err: fmt.Errorf("no server of this machine uses the data directory %s", dir), hint: "start it, or name another with --data-dir"}
			}
			if name == "" {
				name = "recovered-" + time.Now().UTC().Format("20060102-150405")
			}
			secret := api.NewToken()
			if err := node.AskTokenRecovery(dir, node.TokenRecovery{Name: name, Secret: secret}); err != nil {
				return fmt.Errorf("ask the node for a token: %w", err)
			}
			if err := waitRecovered(command.Context(), dir); err != nil {
				return err
			}
			switch {
			case a.structured():
				return a.printObject(map[string]string{"name": name, "token": secret}, name, name)
			case a.quiet:
				fmt.Fprintln(a.out, secret)
				return nil
			}
			a.say("Created token '%s' with the role admin. It is shown only here:\n\n    %s", name, secret)
			return nil
		},
	}
	command.Flags().StringVar(&dir, "data-dir", "", "the node's data directory (default "+filepath.Join("$SLUICE_HOME", "data")+")")
	command.Flags().StringVar(&name, "name", "", "name of the token (default recovered- and the time)")
	bindSetting(command.Flags(), "data-dir")
	return command
}

// waitRecovered polls: the node is another process and tells by a file.
func waitRecovered(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverPatience)
	defer cancel()
	for {
		done, err := node.TokenRecovered(dir)
		if done {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the node did not make the token: %w", errors.Join(err, node.ForgetTokenRecovery(dir)))
		}
	}
}

// localToken returns the token of an admin that a server of this user made on this machine, for the address at which it serves
// right now; "" if there is none. So the commands of whoever starts a server here need no configuration, as in the tutorial.
func (a *app) localToken(addresses []string) string {
	if len(addresses) != 1 {
		return ""
	}
	return localserver.Token(a.home(), addresses[0])
}
