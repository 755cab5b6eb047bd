import { QueryClient } from '@tanstack/react-query'
import type { Interest } from '../live/topics'
import { ApiError } from './fetch'

declare module '@tanstack/react-query' {
  interface Register {
    queryMeta: { live?: Interest }
  }
}

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      gcTime: 5 * 60_000,
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 502),
      retryDelay: (attempt) => 300 * 2 ** attempt,
    },
    mutations: { retry: false },
  },
})
