package cloud_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
	"github.com/sluice-dev/sluice/storage/cloud"
)

func verify(key *rsa.PublicKey, message string, signature []byte) bool {
	sum := sha256.Sum256([]byte(message))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}

type settings map[string]any

// with returns the settings with some changed.
func (s settings) with(changed settings) settings {
	all := settings{}
	for _, from := range []settings{s, changed} {
		for name, value := range from {
			all[name] = value
		}
	}
	return all
}

func open(t *testing.T, kind, folder string, set settings) (storage.Storage, error) {
	t.Helper()
	data, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return storage.Open(&api.Block{ID: api.NewID(), Name: "lake", Data: data, BlockSpec: &api.BlockSpec{Name: kind}}, storage.Places{Openers: cloud.Openers(folder)})
}

// refusal is what wrong settings lead to.
type refusal struct {
	set  settings
	kind api.Kind
	want []string
}

// passes runs what is the same for every storage against a real server.
func passes(t *testing.T, kind string, good settings, refusals map[string]refusal) {
	t.Run("what is written is read back", func(t *testing.T) {
		code, err := open(t, kind, cloud.Code, good)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"def flow():\n\treturn \"é\"\n", strings.Repeat("x", 20_000_000)} {
			key, err := code.Write(t.Context(), []byte(text))
			if err != nil || !strings.HasPrefix(key, "code/") {
				t.Fatalf("%s, %v", key, err)
			}
			again, err := code.Write(t.Context(), []byte(text))
			if err != nil || again != key {
				t.Errorf("equal content went to %s and %s, %v", key, again, err)
			}
			if got, err := code.Read(t.Context(), key); err != nil || string(got) != text {
				t.Errorf("read %d bytes of %d, %v", len(got), len(text), err)
			}
		}
	})
	t.Run("a missing object is told from all else", func(t *testing.T) {
		results, err := open(t, kind, cloud.Results, good)
		if err != nil {
			t.Fatal(err)
		}
		_, err = results.Read(t.Context(), "results/of orion & others")
		if !api.IsNotFound(err) || !strings.Contains(err.Error(), "no object results/of orion & others in") || !strings.Contains(err.Error(), "lake") {
			t.Errorf("%v", err)
		}
	})
	for name, refused := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, err := open(t, kind, cloud.Code, refused.set)
			var errs []error
			if err != nil {
				errs = append(errs, err)
			} else {
				_, writing := bad.Write(t.Context(), []byte("x"))
				_, reading := bad.Read(t.Context(), "code/x")
				errs = append(errs, writing, reading)
			}
			for _, err := range errs {
				if api.KindOf(err) != refused.kind {
					t.Errorf("%v is %s, want %s", err, api.KindOf(err), refused.kind)
				}
				for _, want := range refused.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("%v does not say %q", err, want)
					}
				}
			}
		})
	}
}

func TestS3(t *testing.T) {
	t.Parallel()
	good := settings{"bucket": "flows", "aws_access_key_id": "the-key", "aws_secret_access_key": "the-secret", "endpoint_url": startS3(t)}
	passes(t, storage.KindS3, good, map[string]refusal{
		"a wrong secret":   {good.with(settings{"aws_secret_access_key": "no"}), api.KindForbidden, []string{"refuses the credentials (aws_access_key_id the-key)", "SignatureDoesNotMatch"}},
		"an unknown key":   {good.with(settings{"aws_access_key_id": "who"}), api.KindForbidden, []string{"refuses the credentials (aws_access_key_id who)"}},
		"a missing bucket": {good.with(settings{"bucket": "elsewhere"}), api.KindInvalid, []string{"there is no bucket elsewhere at 127.0.0.1"}},
		"nobody there":     {good.with(settings{"endpoint_url": "http://" + closedPort(t)}), api.KindUnavailable, []string{"it does not answer", "connection refused"}},
		"half a key":       {settings{"bucket": "flows", "aws_access_key_id": "k"}, api.KindInvalid, []string{"belong together"}},
		"no bucket":        {settings{}, api.KindInvalid, []string{"bucket is empty"}},
		"a bad address":    {good.with(settings{"endpoint_url": "minio:9000"}), api.KindInvalid, []string{"endpoint_url is"}},
		"masked secrets":   {good.with(settings{"aws_secret_access_key": "********"}), api.KindForbidden, []string{"not shown to this token"}},
	})
}

func TestGoogle(t *testing.T) {
	t.Parallel()
	server := startGoogle(t)
	good := settings{"bucket": "flows", "service_account_info": json.RawMessage(server.account), "endpoint_url": server.endpoint}
	passes(t, storage.KindGoogle, good, map[string]refusal{
		"a wrong key":      {good.with(settings{"service_account_info": json.RawMessage(server.stranger)}), api.KindForbidden, []string{"refuses the credentials (service account flows@example.com)", "Invalid JWT Signature"}},
		"no credentials":   {settings{"bucket": "flows", "endpoint_url": server.endpoint}, api.KindForbidden, []string{"refuses the credentials", "Anonymous caller"}},
		"a missing bucket": {good.with(settings{"bucket": "elsewhere"}), api.KindInvalid, []string{"there is no bucket elsewhere at http://127.0.0.1"}},
		"nobody there":     {settings{"bucket": "flows", "endpoint_url": "http://" + closedPort(t)}, api.KindUnavailable, []string{"it does not answer", "connection refused"}},
		"no account":       {settings{"bucket": "flows", "service_account_info": settings{"type": "x"}}, api.KindInvalid, []string{"service_account_info is not"}},
		"no bucket":        {settings{}, api.KindInvalid, []string{"bucket is empty"}},
	})
}

func TestAzure(t *testing.T) {
	t.Parallel()
	connection := startAzure(t)
	good := settings{"container": "flows", "connection_string": connection}
	wrong := strings.Replace(connection, "AccountKey=Eby8", "AccountKey=AAAA", 1)
	away, _, _ := strings.Cut(connection, "BlobEndpoint=")
	passes(t, storage.KindAzure, good, map[string]refusal{
		"a wrong key":         {good.with(settings{"connection_string": wrong}), api.KindForbidden, []string{"refuses the credentials (the connection string)"}},
		"a missing container": {good.with(settings{"container": "elsewhere"}), api.KindInvalid, []string{"there is no container elsewhere at 127.0.0.1"}},
		"nobody there":        {good.with(settings{"connection_string": away + "BlobEndpoint=http://" + closedPort(t) + "/devstoreaccount1;"}), api.KindUnavailable, []string{"it does not answer", "connection refused"}},
		"no connection":       {settings{"container": "flows", "connection_string": "hello"}, api.KindInvalid, []string{"connection_string is not one"}},
		"no container":        {settings{}, api.KindInvalid, []string{"container is empty"}},
	})
}

func TestWhatWasChangedInTheBucketIsNotTaken(t *testing.T) {
	t.Parallel()
	endpoint := startS3(t)
	good := settings{"bucket": "flows", "aws_access_key_id": "the-key", "aws_secret_access_key": "the-secret", "endpoint_url": endpoint}
	opened, err := open(t, storage.KindS3, cloud.Code, good)
	if err != nil {
		t.Fatal(err)
	}
	key, err := opened.Write(t.Context(), []byte("print('hello')"))
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, endpoint, key, "import evil")
	if data, err := opened.Read(t.Context(), key); api.KindOf(err) != api.KindConflict || !strings.Contains(err.Error(), "its content was changed") {
		t.Errorf("read %q, %v", data, err)
	}
	overwrite(t, endpoint, "of-another-client", "theirs")
	if data, err := opened.Read(t.Context(), "of-another-client"); err != nil || string(data) != "theirs" {
		t.Errorf("read %q, %v", data, err)
	}
}
