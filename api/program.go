package api

// Program is the code of a deployment that is a file of its own: the blob of a document with the encoding EncodingProgram. A program of
// the Go SDK is run as `PROGRAM exec FLOW_RUN_ID` and reports for itself; of a script the agent reports how it ends.
type Program struct {
	Language  string       `json:"language"` // LanguageGo or LanguageScript
	Flow      string       `json:"flow"`
	Version   string       `json:"version,omitempty"`   // of the flow, as the program says
	Name      string       `json:"name"`                // of its file, for people
	OS        string       `json:"os,omitempty"`        // Go's names; "" of a script, for any
	Arch      string       `json:"arch,omitempty"`      // as OS
	Size      int64        `json:"size"`                // bytes of the file
	SHA256    string       `json:"sha256"`              // of the file, in hex
	Code      DataDocument `json:"code"`                // where the file lies, as program.Pack makes it
	Arguments []string     `json:"arguments,omitempty"` // of a script; {{NAME}} stands for a parameter
}

// The languages of a Program.
const (
	LanguageGo     = "go"
	LanguageScript = "script" // begins with #!
)
