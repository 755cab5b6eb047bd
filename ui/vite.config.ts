import tailwindcss from '@tailwindcss/vite'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

// Where `npm run dev` finds an API: a `sluice dev` that runs already.
const api = process.env.SLUICE_ADDRESS ?? 'http://127.0.0.1:4200'

export default defineConfig({
  base: './',
  plugins: [react(), tailwindcss()],
  build: {
    // placeholder.html stays; tools/pack.mjs takes away what an earlier build left.
    emptyOutDir: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2022',
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': api, '/readyz': api, '/metrics': api } },
  worker: { format: 'es' },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.{ts,tsx}'],
    setupFiles: ['src/testing/setup.ts'],
  },
})
