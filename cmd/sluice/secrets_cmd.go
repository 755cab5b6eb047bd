package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
)

func newSecretsCommand(a *app) *cobra.Command {
	return group("secrets", "Look after the keys that encrypt secrets",
		`Blocks (storages and the like) hold passwords and tokens, webhooks what their messages are signed with. Nodes
encrypt all that before it is replicated, with keys from a file that every node has (--secrets-key-file). The keys themselves
are never in the log, in a snapshot or in an answer.`,
		"  sluice secrets status\n  sluice secrets reseal",
		newSecretsStatus(a), newSecretsReseal(a))
}

func newSecretsStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the keys, who has them and what they encrypt",
		Long: `List the keys, which nodes have them and how many blocks and webhooks each encrypts. New data is encrypted with the first
key in a node's file that all nodes have. It ends with code 1 when blocks cannot be stored, or a node cannot read some.`,
		Example: "  sluice secrets status\n  sluice secrets status -o json",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			keys, err := c.SecretKeys(command.Context())
			if err != nil {
				return fmt.Errorf("ask for the keys: %w", err)
			}
			if a.structured() || a.quiet {
				if err := a.printObject(keys, "", ""); err != nil {
					return err
				}
				return secretsVerdict(keys)
			}
			a.say("Blocks with data: %d, of them in clear: %d; webhooks: %d", keys.Blocks, keys.Clear, keys.Webhooks)
			if len(keys.Keys) > 0 {
				a.say("")
				if err := printList(a, keyList(keys.Keys)); err != nil {
					return err
				}
			}
			return secretsVerdict(keys)
		},
	}
}

func keyList(keys []api.SecretKey) list[api.SecretKey] {
	return list[api.SecretKey]{
		title: "Keys",
		columns: []column[api.SecretKey]{
			{header: "Key", sgr: sgrCyan, cell: func(k api.SecretKey, _ bool) string { return k.ID }},
			{header: "Encrypts", sgr: sgrGreen, cell: func(k api.SecretKey, _ bool) string {
				if k.Seals {
					return "new data"
				}
				return ""
			}},
			{header: "Blocks", right: true, cell: func(k api.SecretKey, _ bool) string { return strconv.Itoa(k.Blocks) }},
			{header: "Webhooks", right: true, cell: func(k api.SecretKey, _ bool) string { return strconv.Itoa(k.Webhooks) }},
			{header: "Nodes", fold: true, cell: func(k api.SecretKey, _ bool) string { return strings.Join(k.Members, ", ") }},
			{header: "Not on", fold: true, sgr: sgrRed, cell: func(k api.SecretKey, _ bool) string { return strings.Join(k.Lacking, ", ") }},
		},
		items: keys,
		id:    func(k api.SecretKey) string { return k.ID },
		name:  func(k api.SecretKey) string { return k.ID },
	}
}

// secretsVerdict ends the command with a failure when something must be done.
func secretsVerdict(keys *api.SecretKeys) error {
	if keys.Problem != "" {
		return &failure{code: exitError, err: errors.New(keys.Problem), hint: "give every node the same key file: --secrets-key-file, or secrets.key in its data directory"}
	}
	for _, k := range keys.Keys {
		if k.Blocks+k.Webhooks > 0 && len(k.Lacking) > 0 {
			return &failure{code: exitError, err: fmt.Errorf("%d blocks and %d webhooks are encrypted with the key %s, which %s cannot read", k.Blocks, k.Webhooks, k.ID, strings.Join(k.Lacking, ", ")),
				hint: "add that key as a further line to the key files there, or sluice secrets reseal while a node that has it answers"}
		}
	}
	return nil
}

func newSecretsReseal(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reseal",
		Short: "Encrypt all secrets with the newest key",
		Long: `Encrypt all blocks and the secrets of all webhooks with the first key of the answering node's file that all nodes have,
also blocks that a former version stored in clear. It goes in small steps and may be repeated at any time, also after it
was interrupted. When it has ended, the other keys are not needed any more but for older snapshots.`,
		Example: "  sluice secrets reseal",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			total := 0
			for {
				done, err := c.ResealSecrets(command.Context())
				if err != nil {
					return fmt.Errorf("encrypt the secrets (%d were, repeat the command for the others): %w", total, err)
				}
				total += done.Resealed
				if done.Remaining > 0 {
					continue
				}
				done.Resealed = total
				if err := a.printDone(done, strconv.Itoa(total), strconv.Itoa(total), fmt.Sprintf("Encrypted %d secrets with the key %s", total, done.Key)); err != nil {
					return err
				}
				return unreadableSecrets(a, done.Unreadable)
			}
		},
	}
}

func unreadableSecrets(a *app, all []api.UnreadableSecret) error {
	if len(all) == 0 {
		return nil
	}
	for _, s := range all {
		a.note("%s %s '%s': %s", s.Kind, s.ID, s.Name, s.Reason)
	}
	return &failure{code: exitError, err: fmt.Errorf("%d blocks and webhooks could not be read and stay as they are", len(all)),
		hint: "add the key that they need to the key file; or delete them, and give a webhook a new secret: sluice webhook update"}
}
