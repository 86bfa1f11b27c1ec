import { isJsonObject, type Json, type JsonObject } from './condition-values.ts'
import { hasControl } from './names.ts'

/** The first key or string of a context that holds control characters, as the server words it. */
export function findForbidden(context: JsonObject): string | undefined {
  for (const [key, value] of Object.entries(context)) {
    if (hasControl(key)) return `context key ${JSON.stringify(key)} contains forbidden characters`
    const found = forbiddenIn(value)
    if (found !== undefined) return found
  }
  return undefined
}

function forbiddenIn(value: Json): string | undefined {
  if (typeof value === 'string')
    return hasControl(value)
      ? `context value ${JSON.stringify(value)} contains forbidden characters`
      : undefined
  if (isJsonObject(value)) return findForbidden(value)
  if (!Array.isArray(value)) return undefined
  for (const element of value as readonly Json[]) {
    const found = forbiddenIn(element)
    if (found !== undefined) return found
  }
  return undefined
}
