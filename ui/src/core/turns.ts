/** inTurn does something with each item, at most `most` at a time, goes on over failures, and answers those. */
export async function inTurn<T>(items: T[], most: number, act: (item: T) => Promise<unknown>, progress: (done: number) => void = () => {}): Promise<{ item: T; error: unknown }[]> {
  const failures: { item: T; error: unknown }[] = []
  let next = 0
  let done = 0
  const work = async () => {
    while (next < items.length) {
      const item = items[next++]!
      try {
        await act(item)
      } catch (error) {
        failures.push({ item, error })
      }
      progress(++done)
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, work))
  return failures
}
