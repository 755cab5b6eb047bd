package storage

// Spec describes one kind of storage to clients that ask for its settings: the fields are a JSON schema in Orion's form.
type Spec struct {
	Kind   string
	Fields string
}

// SpecVersion is the version of all Specs, SpecType their type.
const (
	SpecVersion = "1.0"
	SpecType    = "STORAGE"
)

// Specs are the kinds of storage every cluster knows from its first start.
var Specs = []Spec{
	{KindAzure, `{"title":"Azure Blob Storage","description":"Store data in an Azure blob storage container.","type":"object","properties":{` +
		`"container":{"title":"Container","type":"string"},"connection_string":{"title":"Connection String","type":"string"}},"required":["container","connection_string"]}`},
	{KindFile, `{"title":"File Storage","description":"Store data as a file on local or remote file systems.","type":"object","properties":{` +
		`"base_path":{"title":"Base Path","description":"The directory below which files are written.","type":"string"},` +
		`"key_type":{"title":"Key Type","description":"How files are named: by the hash of their content, at random, or by the time.","default":"hash","enum":["hash","uuid","timestamp"],"type":"string"},` +
		`"options":{"title":"Options","description":"Options of the file system.","type":"object"}},"required":["base_path"]}`},
	{KindGoogle, `{"title":"Google Cloud Storage","description":"Store data in a GCS bucket.","type":"object","properties":{` +
		`"bucket":{"title":"Bucket","type":"string"},"project":{"title":"Project","type":"string"},` +
		`"service_account_info":{"title":"Service Account Info","type":"object","additionalProperties":{"type":"string"}}},"required":["bucket"]}`},
	{KindKVServer, `{"title":"KV Server Storage","description":"Store data by sending requests to a KV server.","type":"object","properties":{` +
		`"api_address":{"title":"Api Address","type":"string"}},"required":["api_address"]}`},
	{KindLocal, `{"title":"Local Storage","description":"Store data in a run's local file system.","type":"object","properties":{` +
		`"storage_path":{"title":"Storage Path","type":"string"}}}`},
	{KindS3, `{"title":"S3 Storage","description":"Store data in an AWS S3 bucket.","type":"object","properties":{` +
		`"bucket":{"title":"Bucket","type":"string"},"aws_access_key_id":{"title":"Aws Access Key Id","type":"string"},` +
		`"aws_secret_access_key":{"title":"Aws Secret Access Key","type":"string"},"aws_session_token":{"title":"Aws Session Token","type":"string"},` +
		`"profile_name":{"title":"Profile Name","type":"string"},"region_name":{"title":"Region Name","type":"string"}},"required":["bucket"]}`},
	{KindTemporaryLocal, `{"title":"Temporary Local Storage","description":"Store data in a temporary directory in a run's local file system.","type":"object","properties":{}}`},
}
