package api

// Webhook is an address that is told of flow runs' states.
type Webhook struct {
	ID      ID            `json:"id"`
	Created Time          `json:"created"`
	Updated Time          `json:"updated"`
	Name    string        `json:"name"`
	URL     string        `json:"url"`
	Filter  WebhookFilter `json:"filter"`
	// Secret verifies signatures; it is told once, by what made it.
	Secret       string  `json:"secret,omitempty"`
	Paused       bool    `json:"paused"`
	PausedReason string  `json:"paused_reason"` // "" when somebody paused it
	Waiting      int64   `json:"waiting"`       // messages in the outbox
	Oldest       *Time   `json:"oldest"`        // since when the oldest of them waits
	Dropped      uint64  `json:"dropped"`       // messages that gave way to newer ones in a full outbox
	Delivered    uint64  `json:"delivered"`
	GivenUp      uint64  `json:"given_up"`
	LastFailed   *Time   `json:"last_failed"`
	LastSuccess  *Time   `json:"last_delivered"`
	LastError    *string `json:"last_error"` // null once a message was delivered
}

// WebhookFilter says which states are told: those that meet every criterion that is given.
type WebhookFilter struct {
	StateTypes    []StateType `json:"state_types"`
	StateNames    []string    `json:"state_names"`
	Tags          []string    `json:"tags"` // the run has all of them
	DeploymentIDs []ID        `json:"deployment_ids"`
	FlowIDs       []ID        `json:"flow_ids"`
}

// WebhookCreate is the body of POST /webhooks. Without a secret the server makes one.
type WebhookCreate struct {
	Name   string         `json:"name"`
	URL    string         `json:"url"`
	Secret string         `json:"secret,omitempty"`
	Filter *WebhookFilter `json:"filter,omitempty"`
	Paused bool           `json:"paused,omitempty"`
}

// WebhookUpdate is the body of PATCH /webhooks/{id}: what is absent stays.
type WebhookUpdate struct {
	Name      *string        `json:"name,omitempty"`
	URL       *string        `json:"url,omitempty"`
	Secret    *string        `json:"secret,omitempty"`
	NewSecret bool           `json:"new_secret,omitempty"` // the server makes one and tells it
	Filter    *WebhookFilter `json:"filter,omitempty"`
	Paused    *bool          `json:"paused,omitempty"`
}

// WebhookDelivery is one message to a webhook.
type WebhookDelivery struct {
	ID           ID         `json:"id"`
	Created      Time       `json:"created"`
	Status       string     `json:"status"` // waiting, delivered, given_up
	Attempts     int        `json:"attempts"`
	NextAttempt  *Time      `json:"next_attempt"`
	Finished     *Time      `json:"finished"`
	ResponseCode *int       `json:"response_code"` // of the last attempt
	Error        *string    `json:"error"`
	Duration     Duration   `json:"duration"` // of the last attempt
	Test         bool       `json:"test"`
	FlowRunID    *ID        `json:"flow_run_id"`
	FlowRunName  *string    `json:"flow_run_name"`
	StateType    *StateType `json:"state_type"`
	StateName    *string    `json:"state_name"`
}
