/** pickRows is what is selected after a click on a row: the row in or out, or all from the one before to it. */
export function pickRows(selected: Set<string>, ids: string[], id: string, from: string | null): Set<string> {
  const next = new Set(selected)
  const [a, b] = [from === null ? -1 : ids.indexOf(from), ids.indexOf(id)]
  if (a >= 0 && b >= 0) for (const i of ids.slice(Math.min(a, b), Math.max(a, b) + 1)) next.add(i)
  else if (!next.delete(id)) next.add(id)
  return next
}
