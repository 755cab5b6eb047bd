package state

// Census reads every row and returns how many there are of each kind, and the hash of them all, which must be the stored one.
func (v *View) Census() (counts map[string]int64, hash Hash, err error) {
	counts = map[string]int64{}
	names := map[byte]string{flows.number: flows.name, flowRuns.number: flowRuns.name, flowRunStates.number: flowRunStates.name, taskRuns.number: taskRuns.name,
		taskRunStates.number: taskRunStates.name, deployments.number: deployments.name, workQueues.number: workQueues.name, agents.number: agents.name,
		blockSpecs.number: blockSpecs.name, blocks.number: blocks.name, limits.number: limits.name, slots.number: slots.name, cacheEntries.number: cacheEntries.name,
		savedSearches.number: savedSearches.name, logSegments.number: logSegments.name, logProducers.number: logProducers.name, logUsages.number: logUsages.name, claims.number: claims.name,
		blobs.number: blobs.name, blobChunks.number: blobChunks.name, jobs.number: jobs.name, outcomes.number: outcomes.name,
		tokens.number: tokens.name, audits.number: audits.name,
		retentionPolicy.number: retentionPolicy.name, webhooks.number: webhooks.name, deliveries.number: deliveries.name,
		artifacts.number: artifacts.name, reigns.number: reigns.name}
	under := []byte{namespaceDefault, kindRow}
	err = walk(v.r, under, after(under), false, func(key, value []byte) (bool, error) {
		counts[names[key[len(under)]]]++
		hash.add(key, value)
		return true, nil
	})
	return counts, hash, err
}
