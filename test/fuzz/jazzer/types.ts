import { register } from 'node:module'

// Before Jazzer's own hook, which counts branches in JavaScript alone.
register('./strip-types.ts', import.meta.url)
