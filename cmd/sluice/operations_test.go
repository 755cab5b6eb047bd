package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	httpapi "github.com/sluice-dev/sluice/http"
)

// forPrograms are operations without a command, because people have no use for them, with who calls them.
var forPrograms = map[string]string{
	"clearDatabase":      "Orion's clients",
	"createDatabase":     "Orion's clients",
	"dropDatabase":       "Orion's clients",
	"hello":              "Orion's clients",
	"readSettings":       "Orion's clients; sluice config view shows our own",
	"scheduleDeployment": "Orion's clients; the scheduler does it by itself",
	"metrics":            "Prometheus",
	"createLogs":         "agents and the SDK",
	"flowRunDots":        "charts",
	"taskRunHistory":     "charts",
	"livez":              "supervisors",
	"setTaskRunState":    "the SDK",
	"createTaskRun":      "the SDK",
	"deleteBlob":         "the SDK",
	"renewLeases":        "the SDK, for scripts",
	"startLease":         "the SDK, for scripts",
}

// commandsOf names the command of each operation.
var commandsOf = map[string]string{
	"deleteAgent":                 "agent forget",
	"filterAgents":                "agent ls",
	"drainAgent":                  "agent drain",
	"undrainAgent":                "agent undrain",
	"agentHeartbeat":              "agent start",
	"claimRuns":                   "agent start",
	"registerAgent":               "agent start",
	"openapi":                     "api",
	"filterAudit":                 "audit ls",
	"createBlock":                 "block create",
	"deleteBlock":                 "block delete",
	"updateBlock":                 "block edit",
	"readBlock":                   "block inspect",
	"readSpecBlock":               "block inspect",
	"readSpecVersionBlock":        "block inspect",
	"filterBlocks":                "block ls",
	"createBlockSpec":             "block-spec create",
	"deleteBlockSpec":             "block-spec delete",
	"readBlockSpecVersion":        "block-spec inspect",
	"filterBlockSpecs":            "block-spec ls",
	"readBlockSpecVersions":       "block-spec ls",
	"readClusterHealth":           "cluster health",
	"leaveCluster":                "cluster leave",
	"removeMember":                "cluster remove",
	"readCluster":                 "cluster status",
	"transferLeadership":          "cluster transfer-leadership",
	"putConcurrencyLimit":         "concurrency-limit create",
	"deleteConcurrencyLimit":      "concurrency-limit delete",
	"deleteConcurrencyLimitByTag": "concurrency-limit delete",
	"readConcurrencyLimit":        "concurrency-limit inspect",
	"readConcurrencyLimitByTag":   "concurrency-limit inspect",
	"filterConcurrencyLimits":     "concurrency-limit ls",
	"readDebugBundle":             "debug bundle",
	"patchDeployment":             "deployment apply",
	"backfillDeployment":          "deployment backfill",
	"createFlow":                  "deployment create",
	"putBlob":                     "deployment create",
	"putDeployment":               "deployment create",
	"deleteDeployment":            "deployment delete",
	"readBlob":                    "deployment execute",
	"readDeployment":              "deployment inspect",
	"readDeploymentByName":        "deployment inspect",
	"countDeployments":            "deployment ls",
	"filterDeployments":           "deployment ls",
	"setScheduleInactive":         "deployment pause",
	"planDeployment":              "deployment plan",
	"setScheduleActive":           "deployment resume",
	"createDeploymentFlowRun":     "deployment run",
	"createFlowRun":               "deployment run",
	"clearSchedules":              "deployment schedule clear",
	"createSchedule":              "deployment schedule create",
	"deleteSchedule":              "deployment schedule delete",
	"readSchedules":               "deployment schedule ls",
	"updateSchedule":              "deployment schedule pause",
	"createArtifact":              "artifact create",
	"filterArtifacts":             "artifact ls",
	"readArtifact":                "artifact inspect",
	"readLatestArtifact":          "artifact inspect",
	"streamEvents":                "event stream",
	"deleteFlow":                  "flow delete",
	"updateFlow":                  "flow edit",
	"updateFlowRun":               "flow-run edit",
	"readFlow":                    "flow inspect",
	"readFlowByName":              "flow inspect",
	"countFlows":                  "flow ls",
	"filterFlows":                 "flow ls",
	"cancelFlowRun":               "flow-run cancel",
	"createJob":                   "flow-run delete",
	"deleteFlowRun":               "flow-run delete",
	"explainFlowRun":              "flow-run explain",
	"readFlowRun":                 "flow-run inspect",
	"readFlowRunState":            "flow-run inspect",
	"readFlowRunStates":           "flow-run inspect",
	"flowRunGraph":                "flow-run graph",
	"flowRunHistory":              "flow-run history",
	"createWebhook":               "webhook create",
	"deleteWebhook":               "webhook delete",
	"listDeliveries":              "webhook deliveries",
	"listWebhooks":                "webhook ls",
	"readWebhook":                 "webhook inspect",
	"redeliverWebhook":            "webhook redeliver",
	"testWebhook":                 "webhook test",
	"updateWebhook":               "webhook edit",
	"downloadLogs":                "flow-run logs",
	"searchLogs":                  "flow-run logs",
	"readQueueSlots":              "work-queue slots",
	"filterLogs":                  "flow-run logs",
	"countFlowRuns":               "flow-run ls",
	"filterFlowRuns":              "flow-run ls",
	"rerunFlowRun":                "flow-run rerun",
	"retryFlowRun":                "flow-run retry",
	"setFlowRunState":             "flow-run set-state",
	"streamFlowRun":               "flow-run watch",
	"cancelJob":                   "job cancel",
	"readJob":                     "job inspect",
	"filterJobs":                  "job ls",
	"previewRetention":            "retention preview",
	"updateRetention":             "retention set",
	"readRetention":               "retention show",
	"putSavedSearch":              "saved-search set",
	"deleteSavedSearch":           "saved-search delete",
	"readSavedSearch":             "saved-search inspect",
	"filterSavedSearches":         "saved-search ls",
	"resealSecrets":               "secrets reseal",
	"readSecretKeys":              "secrets status",
	"health":                      "server status",
	"readyz":                      "server status",
	"version":                     "server status",
	"discardSnapshot":             "snapshot restore",
	"restoreSnapshot":             "snapshot restore",
	"stageSnapshot":               "snapshot restore",
	"saveSnapshot":                "snapshot save",
	"readDefaultStorage":          "storage ls",
	"clearDefaultStorage":         "storage reset-default",
	"setDefaultStorage":           "storage set-default",
	"deleteTaskRun":               "task-run delete",
	"readTaskRun":                 "task-run inspect",
	"readTaskRunState":            "task-run inspect",
	"readTaskRunStates":           "task-run inspect",
	"countTaskRuns":               "task-run ls",
	"filterTaskRuns":              "task-run ls",
	"createToken":                 "token create",
	"readToken":                   "token inspect",
	"filterTokens":                "token ls",
	"revokeToken":                 "token revoke",
	"whoAmI":                      "token inspect",
	"createWorkQueue":             "work-queue create",
	"deleteWorkQueue":             "work-queue delete",
	"updateWorkQueue":             "work-queue edit",
	"readWorkQueue":               "work-queue inspect",
	"readWorkQueueByName":         "work-queue inspect",
	"filterWorkQueues":            "work-queue ls",
	"workQueueRuns":               "work-queue preview",
}

func TestEveryEndpointHasItsCommand(t *testing.T) {
	t.Parallel()
	text, err := httpapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	commands := map[string]bool{}
	for _, command := range leaves(emptyTree()) {
		commands[strings.TrimPrefix(command.CommandPath(), "sluice ")] = true
	}
	described := map[string]string{}
	for path, item := range document.Paths {
		for method, text := range item {
			var operation struct{ OperationID string }
			if method == "parameters" {
				continue
			}
			if err := json.Unmarshal(text, &operation); err != nil {
				t.Fatal(err)
			}
			described[operation.OperationID] = strings.ToUpper(method) + " " + path
		}
	}
	for _, operation := range slices.Sorted(maps.Keys(described)) {
		command, has := commandsOf[operation]
		if _, programs := forPrograms[operation]; !has && !programs {
			t.Errorf("%s (%s) has no command: make one, and name it in commandsOf", described[operation], operation)
		}
		if has && !commands[command] {
			t.Errorf("%s (%s) is done by `sluice %s`, and there is no such command", described[operation], operation, command)
		}
	}
	for _, named := range [][]string{slices.Sorted(maps.Keys(commandsOf)), slices.Sorted(maps.Keys(forPrograms))} {
		for _, operation := range named {
			if described[operation] == "" {
				t.Errorf("%s is no operation of the API's description any more", operation)
			}
		}
	}
}
