package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage"
)

// azure is a container of Azure Blob Storage. It uses the client for single blobs: that for accounts brings a data base library along.
type azure struct {
	connection string
	container  string
	where      string
	options    *blockblob.ClientOptions
}

func openAzure(block *api.Block, transport *http.Transport) (objects, error) {
	var set struct {
		Container        string `json:"container"`
		ConnectionString string `json:"connection_string"`
	}
	if err := storage.Decode(block, &set); err != nil {
		return nil, err
	}
	if set.Container == "" {
		return nil, unusable("container is empty")
	}
	options := &blockblob.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: attempts - 1, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 5 * time.Second},
	}}
	client, err := blockblob.NewClientFromConnectionString(set.ConnectionString, set.Container, "any", options)
	if err != nil {
		// The library's own words may hold parts of the connection string.
		return nil, unusable("connection_string is not one of a storage account; the portal shows it under \"Access keys\": DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...")
	}
	where := client.URL()
	if address, err := url.Parse(where); err == nil {
		where = address.Host
	}
	return &azure{connection: set.ConnectionString, container: set.Container, where: where, options: options}, nil
}

func (a *azure) blob(key string) (*blockblob.Client, error) {
	return blockblob.NewClientFromConnectionString(a.connection, a.container, key, a.options)
}

func (a *azure) put(ctx context.Context, key string, data []byte) error {
	blob, err := a.blob(key)
	if err != nil {
		return err
	}
	_, err = blob.UploadBuffer(ctx, data, nil)
	return a.explain(key, err)
}

func (a *azure) get(ctx context.Context, key string) ([]byte, error) {
	blob, err := a.blob(key)
	if err != nil {
		return nil, err
	}
	answer, err := blob.DownloadStream(ctx, nil)
	if err != nil {
		return nil, a.explain(key, err)
	}
	size := int64(-1)
	if answer.ContentLength != nil {
		size = *answer.ContentLength
	}
	return readObject(answer.Body, size)
}

func (a *azure) explain(key string, err error) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return err // no answer
	}
	cause := fmt.Errorf("%s", firstOf(answer.ErrorCode, http.StatusText(answer.StatusCode)))
	switch {
	case bloberror.HasCode(err, bloberror.ContainerNotFound, bloberror.ContainerBeingDeleted):
		return noBucket("container "+a.container, a.where, nil)
	case bloberror.HasCode(err, bloberror.BlobNotFound):
		return missing("container "+a.container, key)
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		return refused("the connection string", a.where, cause)
	}
	return rejected(answer.StatusCode, cause)
}
