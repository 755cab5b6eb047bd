package api

// Program is the code of a deployment that is a program of its own, as the Go SDK makes them: the blob of a document with the encoding
// EncodingProgram. The agent runs it as `PROGRAM exec FLOW_RUN_ID`.
type Program struct {
	Language string       `json:"language"` // "go"
	Flow     string       `json:"flow"`
	Name     string       `json:"name"` // of its file, for people
	OS       string       `json:"os"`   // Go's names
	Arch     string       `json:"arch"`
	Size     int64        `json:"size"`   // bytes of the file
	SHA256   string       `json:"sha256"` // of the file, in hex
	Code     DataDocument `json:"code"`   // where the file lies, as program.Pack makes it
}
