// Server-sent events, read from a stream of text. EventSource cannot say who asks, so the browser's own is no use.

export interface ServerEvent {
  name: string
  data: string
}

export interface Reader {
  feed(chunk: string): ServerEvent[]
  /** the id of the last event, with which the stream goes on */
  lastId(): string
}

export function reader(from = ''): Reader {
  let rest = ''
  let id = from
  let name = ''
  let data: string[] = []
  return {
    lastId: () => id,
    feed(chunk) {
      const events: ServerEvent[] = []
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      for (const raw of lines) {
        const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
        if (line === '') {
          if (data.length > 0) events.push({ name: name || 'message', data: data.join('\n') })
          name = ''
          data = []
          continue
        }
        const colon = line.indexOf(':')
        const field = colon < 0 ? line : line.slice(0, colon)
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
        if (field === 'event') name = value
        else if (field === 'data') data.push(value)
        else if (field === 'id') id = value
      }
      return events
    },
  }
}
