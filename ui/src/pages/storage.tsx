export function Storage() { return null }
