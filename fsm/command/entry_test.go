package command

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

var sample = Entry{Stamp: 1_700_000_000_000_000, Batches: []Batch{
	{Session: SessionID{1, 2, 3}, Seq: 7, Commands: [][]byte{[]byte("one"), {}, []byte("three")}},
	{Commands: [][]byte{[]byte("four")}},
}}

func TestAnEntryReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	got, err := DecodeEntry(AppendEntry(nil, sample))
	if err != nil || !reflect.DeepEqual(got, sample) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

// The encoding is written in every log there is: it may only be added to.
func TestTheEncodingOfAnEntryIsFixed(t *testing.T) {
	t.Parallel()
	want := []byte("\x01\x00\x06\x0a\x24\x18\x1e\x40\x00\x01\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x01\x01x")
	e := Entry{Stamp: 1_700_000_000_000_000, Batches: []Batch{{Session: SessionID{9}, Seq: 2, Commands: [][]byte{[]byte("x")}}}}
	if got := AppendEntry(nil, e); !bytes.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestATruncatedEntryIsRefused(t *testing.T) {
	t.Parallel()
	whole := AppendEntry(nil, sample)
	for n := range whole {
		if _, err := DecodeEntry(whole[:n]); !errors.Is(err, ErrMalformedEntry) {
			t.Fatalf("%d of %d bytes gave %v", n, len(whole), err)
		}
	}
	if _, err := DecodeEntry(append(whole, 0)); !errors.Is(err, ErrMalformedEntry) {
		t.Fatalf("a byte too many gave %v", err)
	}
}

func TestDerivedIDsAreDistinctVersion7(t *testing.T) {
	t.Parallel()
	seed := []byte("\x01\x90\x00\x00\x00\x00\x71\x23\x80\x00\x00\x00\x00\x00\x00\x01")
	seen := map[string]bool{}
	for i := range uint32(1000) {
		id := DeriveID(seed, i)
		if len(id) != 16 || id[6]>>4 != 7 || id[8]>>6 != 2 || !bytes.Equal(id[:6], seed[:6]) || seen[string(id)] {
			t.Fatalf("id %d is %x", i, id)
		}
		seen[string(id)] = true
	}
	if !bytes.Equal(DeriveID(seed, 5), DeriveID(seed, 5)) {
		t.Fatal("the same place gives two ids")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(AppendEntry(nil, sample))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEntry(data)
		if err != nil {
			return
		}
		again, err := DecodeEntry(AppendEntry(nil, e))
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v reads back as %+v, %v", e, again, err)
		}
	})
}

func FuzzDecodeCommand(f *testing.F) {
	data, _ := Encode(&Envelope{Seed: make([]byte, 16), Command: &Envelope_CreateFlow{CreateFlow: &CreateFlow{Name: "x"}}})
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := Decode(data, Supported()); err == nil && e.Command == nil {
			t.Fatal("a command without a command")
		}
	})
}
