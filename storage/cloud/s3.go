package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// s3Settings are those of Orion's block, and an address for servers other than Amazon's.
type s3Settings struct {
	Bucket          string `json:"bucket"`
	AccessKeyID     string `json:"aws_access_key_id"`
	SecretAccessKey string `json:"aws_secret_access_key"`
	SessionToken    string `json:"aws_session_token"`
	ProfileName     string `json:"profile_name"`
	RegionName      string `json:"region_name"`
	EndpointURL     string `json:"endpoint_url"`
}

// s3 is a bucket of S3, or of a server that speaks its protocol.
type s3 struct {
	client   *minio.Core
	bucket   string
	where    string
	identity string // whose credentials are used, for people
}

// amazon is where S3 itself is.
const amazon = "https://s3.amazonaws.com"

func openS3(block *api.Block, transport *http.Transport) (objects, error) {
	var set s3Settings
	if err := storage.Decode(block, &set); err != nil {
		return nil, err
	}
	if set.Bucket == "" {
		return nil, unusable("bucket is empty")
	}
	if (set.AccessKeyID == "") != (set.SecretAccessKey == "") {
		return nil, unusable("aws_access_key_id and aws_secret_access_key belong together; one of them is empty")
	}
	address := firstOf(set.EndpointURL, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), amazon)
	endpoint, err := url.Parse(address)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "http" && endpoint.Scheme != "https" || strings.Trim(endpoint.Path, "/") != "" {
		return nil, unusable(fmt.Sprintf("endpoint_url is %q; it must be an address without a path, like https://minio.example.com:9000", address))
	}
	keys, identity := s3Credentials(set)
	client, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: keys, Secure: endpoint.Scheme == "https", Transport: transport, MaxRetries: attempts,
		Region: firstOf(set.RegionName, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")),
	})
	if err != nil {
		return nil, unusable(fmt.Sprintf("endpoint_url %s cannot be used: %v", address, err))
	}
	return &s3{client: client, bucket: set.Bucket, where: endpoint.Host, identity: identity}, nil
}

// s3Credentials are those of the block; else of the profile it names; else what this machine has: environment, default profile, role.
func s3Credentials(set s3Settings) (*credentials.Credentials, string) {
	switch {
	case set.AccessKeyID != "":
		return credentials.NewStaticV4(set.AccessKeyID, set.SecretAccessKey, set.SessionToken), "aws_access_key_id " + set.AccessKeyID
	case set.ProfileName != "":
		return credentials.NewFileAWSCredentials("", set.ProfileName), "profile " + set.ProfileName
	}
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		providers = append(providers, &credentials.IAM{})
	}
	return credentials.NewChainCredentials(providers), "of this machine: AWS_ACCESS_KEY_ID, ~/.aws, or its role"
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// ready makes sure that there are credentials: without any, requests would be sent unsigned and be refused for another reason.
func (s *s3) ready() error {
	value, err := s.client.GetCreds()
	if err == nil && value.SignerType.IsAnonymous() {
		err = errors.New("none were found")
	}
	if err != nil {
		return refusedHere(s.identity, err)
	}
	return nil
}

func refusedHere(who string, cause error) error {
	return &api.Error{
		Kind: api.KindForbidden, Message: "there are no credentials for it (" + who + ")", Err: cause,
		Hint: "give them in the storage's settings, or to the agents and commands on their machines; " + edit,
	}
}

func (s *s3) put(ctx context.Context, key string, data []byte) error {
	if err := s.ready(); err != nil {
		return err
	}
	_, err := s.client.Client.PutObject(ctx, s.bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true, SendContentMd5: true,
	})
	return s.explain(key, err)
}

func (s *s3) get(ctx context.Context, key string) ([]byte, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	body, info, _, err := s.client.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.explain(key, err)
	}
	return readObject(body, info.Size)
}

// unknownUser is what VersityGW answers, with status 404, where S3 says InvalidAccessKeyId.
const unknownUser = "XAdminUserNotFound"

func (s *s3) explain(key string, err error) error {
	if err == nil {
		return nil
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.StatusCode == 0:
		return err // no answer
	case answer.Code == minio.NoSuchKey:
		return missing("bucket "+s.bucket, key)
	case answer.Code == minio.NoSuchBucket:
		return noBucket("bucket "+s.bucket, s.where, nil)
	case answer.Code == unknownUser || answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return refused(s.identity, s.where, fmt.Errorf("%s: %s", answer.Code, answer.Message))
	}
	return rejected(answer.StatusCode, fmt.Errorf("%s: %s", answer.Code, answer.Message))
}
