package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/cloud"
	"github.com/sluice-dev/sluice/storage/relay"
)

// triedText is what a test writes: always the same, so that storages that name by content hold it once.
const triedText = "`sluice storage test` wrote this to see whether it can.\n"

// storageTried is how a test of a storage went.
type storageTried struct {
	ID    *api.ID `json:"id"`
	Name  string  `json:"name"`
	Kind  string  `json:"type"`
	Key   string  `json:"key"`
	Write float64 `json:"write_seconds"`
	Read  float64 `json:"read_seconds"`
}

func newStorageTest(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test [STORAGE]",
		Short: "Write to a storage and read it back",
		Long: `Write a short text to a storage, by its name or id, read it back and compare. Without an argument the default storage is
tried, or the built-in store if there is none. This machine's network and credentials are used: agents have their own.`,
		Example:           "  sluice storage test lake\n  sluice storage test -o json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeNames(a, storageNames),
		RunE: func(command *cobra.Command, args []string) error {
			return testStorage(command.Context(), a, args)
		},
	}
}

func testStorage(ctx context.Context, a *app, args []string) error {
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	var block *api.Block
	if len(args) > 0 {
		block, err = findStorage(ctx, c, args[0])
	} else if block, err = c.DefaultStorage(ctx); err != nil {
		err = fmt.Errorf("read the default storage: %w", err)
	}
	if err != nil {
		return err
	}
	store, tried := storage.BuiltIn(c), storageTried{Name: storage.KindBuiltIn, Kind: storage.KindBuiltIn}
	if block != nil {
		if store, err = storage.Open(block, a.places()); err != nil {
			return err
		}
		tried.ID, tried.Name, tried.Kind = &block.ID, block.Name, store.Kind()
	}
	began := time.Now()
	if tried.Key, err = store.Write(ctx, []byte(triedText)); err != nil {
		return fmt.Errorf("test storage '%s': %w", tried.Name, err)
	}
	written := time.Now()
	got, err := store.Read(ctx, tried.Key)
	if err != nil {
		return fmt.Errorf("test storage '%s': %w", tried.Name, err)
	}
	if !bytes.Equal(got, []byte(triedText)) {
		return fmt.Errorf("test storage '%s': %d bytes were written, and %d others read back under %s", tried.Name, len(triedText), len(got), tried.Key)
	}
	tried.Write, tried.Read = written.Sub(began).Seconds(), time.Since(written).Seconds()
	id := ""
	if tried.ID != nil {
		id = tried.ID.String()
	}
	return a.printDone(tried, id, tried.Name, fmt.Sprintf("Storage '%s' (%s) works: wrote %d bytes in %.0f ms, read them back in %.0f ms.",
		tried.Name, tried.Kind, len(triedText), tried.Write*1e3, tried.Read*1e3))
}

// newStorageRelay is what programs of the SDKs start that run without an agent; see package storage/relay.
func newStorageRelay(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "relay",
		Short: "Let a program use storages, until its end of standard input",
		Long: `Let a program without an agent use the storages of the server: the address and the token that it takes for them are printed
as one line of JSON. It ends with its standard input. The SDKs start it by themselves.`,
		Example: "  sluice storage relay",
		Args:    cobra.NoArgs,
		Hidden:  true,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := a.connect(0)
			if err != nil {
				return err
			}
			defer c.Close()
			logger, err := a.logger()
			if err != nil {
				return err
			}
			server := relay.New(relay.Config{Blocks: c, Places: storage.Places{Home: a.home(), Openers: cloud.Openers(cloud.Results)}, Logger: logger})
			if err := server.Start(); err != nil {
				return err
			}
			defer server.Stop()
			access, revoke := server.Grant()
			defer revoke()
			if err := json.NewEncoder(a.out).Encode(access); err != nil {
				return err
			}
			ended := make(chan struct{})
			go func() { // nothing ends a read of standard input but its end; the process ends with this command
				defer close(ended)
				_, _ = io.Copy(io.Discard, a.in)
			}()
			select {
			case <-ended:
			case <-command.Context().Done():
			}
			return nil
		},
	}
}
