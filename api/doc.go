// Package api is the vocabulary of Sluice: the objects of its HTTP API, their JSON, filters, states and errors. It imports
// only the standard library and nothing of ours, so that every other package may use it.
//
// The objects are Orion's, field by field and in Orion's order. What Sluice adds to an object lies in a second struct that is
// embedded by pointer (FlowRunNative in FlowRun): nil for clients that refuse unknown fields, flattened into the object
// otherwise. The objects on hot paths have an AppendJSON that encodes without reflection; MarshalJSON calls it.
// Free-form JSON is json.RawMessage; what is nil there is encoded as the empty object where Orion's object is never null.
package api
