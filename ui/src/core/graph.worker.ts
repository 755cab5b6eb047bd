import { layout, type GraphInput } from './graph'

self.onmessage = (e: MessageEvent<GraphInput[]>) => self.postMessage(layout(e.data))
