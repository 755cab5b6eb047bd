import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { queries } from './api/client'
import { whenUnauthenticated } from './api/fetch'
import { router } from './app/router'
import './app/preferences'
import './app/theme.css'

whenUnauthenticated(() => {
  const here = router.state.location
  if (!here.pathname.endsWith('/sign-in')) void router.navigate({ to: '/sign-in', search: { back: here.href } })
})

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
)
