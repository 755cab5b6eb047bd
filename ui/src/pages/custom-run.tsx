export function CustomRun() { return null }
