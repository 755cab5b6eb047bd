import { useEffect, useState } from 'react'
import { taskRunsById } from '../api/runs'

// Names of task runs do not change: what was asked once is known.
const names = new Map<string, string>()
const asked = new Set<string>()

/** useTaskNames knows what the task runs are called that are in view, and asks for those it does not know, many at once. */
export function useTaskNames(ids: (string | null | undefined)[]): (id: string) => string | undefined {
  const [, known] = useState(0)
  const missing = [...new Set(ids.filter((id): id is string => !!id && !names.has(id) && !asked.has(id)))].slice(0, 200)
  const key = missing.join()
  useEffect(() => {
    if (key === '') return
    const wanted = key.split(',')
    let mounted = true
    // While one scrolls, what is in view changes faster than it is worth asking.
    const t = setTimeout(() => {
      for (const id of wanted) asked.add(id)
      taskRunsById(wanted).then(
        (found) => {
          for (const task of found) names.set(task.id, task.name)
          if (mounted) known((n) => n + 1)
        },
        () => wanted.forEach((id) => asked.delete(id)),
      )
    }, 150)
    return () => {
      mounted = false
      clearTimeout(t)
    }
  }, [key])
  return (id) => names.get(id)
}
