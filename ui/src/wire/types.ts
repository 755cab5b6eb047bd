// The objects as they travel, by the names the API's description gives them. Only src/api uses these.
import type { components } from './wire.gen'

export type Wire = components['schemas']
