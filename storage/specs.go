package storage

import (
	"encoding/json"

	"github.com/sluice-dev/sluice/api"
)

// SpecVersion is the version of all storage block specs.
const SpecVersion = "1.0"

// Specs are the block specs of the storages that Orion's clients know, in the order of the alphabet. Every server has them.
// The order of the properties is the order in which people are asked.
func Specs() []api.BlockSpecCreate {
	var specs []api.BlockSpecCreate
	for _, s := range []struct{ name, schema string }{
		{KindAzure, `"description":"Store data in an Azure blob storage container.","type":"object","properties":{` +
			`"container":{"title":"Container","type":"string"},` +
			`"connection_string":{"title":"Connection String","type":"string"}},` +
			`"required":["container","connection_string"]`},
		{KindFile, `"description":"Store data as a file on local or remote file systems.","type":"object","properties":{` +
			`"base_path":{"title":"Base Path","description":"Directory below which files are kept.","type":"string"},` +
			`"key_type":{"title":"Key Type","description":"How files are named.","default":"hash","enum":["hash","uuid","timestamp"],"type":"string"},` +
			`"options":{"title":"Options","description":"Options of the file system.","type":"object"}},` +
			`"required":["base_path"]`},
		{KindGoogle, `"description":"Store data in a GCS bucket.","type":"object","properties":{` +
			`"bucket":{"title":"Bucket","type":"string"},` +
			`"project":{"title":"Project","type":"string"},` +
			`"service_account_info":{"title":"Service Account Info","type":"object","additionalProperties":{"type":"string"}}},` +
			`"required":["bucket"]`},
		{KindKVServer, `"description":"Store data by sending requests to a KV server.","type":"object","properties":{` +
			`"api_address":{"title":"Api Address","type":"string"}},` +
			`"required":["api_address"]`},
		{KindLocal, `"description":"Store data in a run's local file system.","type":"object","properties":{` +
			`"storage_path":{"title":"Storage Path","type":"string"}}`},
		{KindS3, `"description":"Store data in an AWS S3 bucket.","type":"object","properties":{` +
			`"bucket":{"title":"Bucket","type":"string"},` +
			`"aws_access_key_id":{"title":"Aws Access Key Id","type":"string"},` +
			`"aws_secret_access_key":{"title":"Aws Secret Access Key","type":"string"},` +
			`"aws_session_token":{"title":"Aws Session Token","type":"string"},` +
			`"profile_name":{"title":"Profile Name","type":"string"},` +
			`"region_name":{"title":"Region Name","type":"string"}},` +
			`"required":["bucket"]`},
		{KindTemporaryLocal, `"description":"Store data in a temporary directory in a run's local file system.","type":"object","properties":{}`},
	} {
		kind := api.BlockTypeStorage
		specs = append(specs, api.BlockSpecCreate{
			Name: s.name, Version: SpecVersion, Type: &kind, Fields: json.RawMessage(`{"title":"` + s.name + `",` + s.schema + `}`),
		})
	}
	return specs
}
