// Puts objects that were read again into the list that has them.

/** merged is the list without those of the ids that are not found any more, with the others as they are now; new ones come last. */
export function merged<T extends { id: string }>(old: readonly T[], ids: readonly string[], found: readonly T[], most = Infinity): T[] {
  const fresh = new Map(found.map((x) => [x.id, x]))
  const gone = new Set(ids.filter((id) => !fresh.has(id)))
  const out: T[] = []
  for (const x of old) {
    if (gone.has(x.id)) continue
    out.push(fresh.get(x.id) ?? x)
    fresh.delete(x.id)
  }
  for (const x of fresh.values()) if (out.length < most) out.push(x)
  return out
}

export function inParts<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size))
}
