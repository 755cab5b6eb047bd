package cluster

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// gossipKeysEvery is how often a node looks whether its keys of gossip are to be replaced.
const gossipKeysEvery = time.Second

// gossipKeys returns the keys to start with.
func (c *Config) gossipKeys() [][]byte {
	if c.GossipKeys == nil {
		return nil
	}
	return c.GossipKeys()
}

func checkGossipKeys(keys [][]byte) error {
	for i, k := range keys {
		if len(k) != 16 && len(k) != 24 && len(k) != 32 {
			return fmt.Errorf("GossipKeys: number %d has %d bytes, must have 16, 24 or 32", i+1, len(k))
		}
	}
	return nil
}

// keepKeys follows what keys returns until ctx ends.
func (g *gossip) keepKeys(ctx context.Context, keys func() [][]byte) {
	tick := time.NewTicker(gossipKeysEvery)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := g.replaceKeys(keys())
		switch {
		case err == nil && changed:
			g.log.Info("the keys of gossip were replaced", "keys", strings.Join(g.keyMarks(), ","))
			told = ""
		case err != nil && err.Error() != told:
			told = err.Error()
			g.log.Error("the keys of gossip stay as they are", "error", err)
		}
	}
}

// replaceKeys makes keys those that are used, and tells whether they were others.
func (g *gossip) replaceKeys(keys [][]byte) (changed bool, err error) {
	var now [][]byte
	if g.keys != nil {
		now = g.keys.GetKeys()
	}
	if slices.EqualFunc(now, keys, bytes.Equal) {
		return false, nil
	}
	switch {
	case g.keys == nil:
		return false, errors.New("gossip that began in plain text is encrypted after a restart only, of all nodes at once")
	case len(keys) == 0:
		return false, errors.New("gossip that began encrypted goes on in plain text after a restart only, of all nodes at once")
	}
	if err := checkGossipKeys(keys); err != nil {
		return false, err
	}
	// In this order there is no moment at which a key that stays is not there.
	for _, k := range keys {
		if err := g.keys.AddKey(k); err != nil {
			return false, err
		}
	}
	if err := g.keys.UseKey(keys[0]); err != nil {
		return false, err
	}
	for _, k := range g.keys.GetKeys() {
		if !slices.ContainsFunc(keys, func(x []byte) bool { return bytes.Equal(x, k) }) {
			if err := g.keys.RemoveKey(k); err != nil {
				return false, err
			}
		}
	}
	return !slices.EqualFunc(now, g.keys.GetKeys(), bytes.Equal), nil
}

// noGossipKey is the mark of gossip in plain text.
const noGossipKey = "none"

// keyMarks are the same for two nodes if their keys are, and say nothing else about them: first that of the key it sends with. A
// nil gossip has none: it hears nobody and nobody minds.
func (g *gossip) keyMarks() []string {
	switch {
	case g == nil:
		return nil
	case g.keys == nil:
		return []string{noGossipKey}
	}
	var marks []string
	for _, k := range g.keys.GetKeys() {
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte("sluice gossip key"))
		marks = append(marks, hex.EncodeToString(mac.Sum(nil)[:8]))
	}
	slices.Sort(marks[1:]) // their order says nothing
	return marks
}

// hearEachOther: what the first of each list encrypts, the other side has. Nothing is known of who says nothing.
func hearEachOther(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.Contains(b, a[0]) && slices.Contains(a, b[0])
}
