import { AppError } from '../kernel/errors.ts'
import type { FgaObject } from '../kernel/ids.ts'

/** Newline-delimited JSON, as the streamed answer comes from the wire. An error inside it fails the whole. */
export async function* objectsOf(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator<FgaObject> {
  const decoder = new TextDecoder()
  let remainder = ''
  try {
    for await (const chunk of stream) {
      remainder += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true })
      const lines = remainder.split('\n')
      remainder = lines.pop() ?? ''
      for (const line of lines) if (line.trim() !== '') yield objectOf(line)
    }
  } catch (error) {
    if (error instanceof AppError) throw error
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA cut its list short', cause: error })
  }
  if (remainder.trim() !== '') yield objectOf(remainder)
}

function objectOf(line: string): FgaObject {
  const { result, error } = messageOf(line)
  if (typeof result?.object !== 'string' || (error !== undefined && error !== null)) {
    throw new AppError('authorization_unavailable', { internal: 'OpenFGA failed within a list' })
  }
  return result.object as FgaObject
}

function messageOf(line: string): {
  readonly result?: { readonly object?: unknown }
  readonly error?: unknown
} {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new AppError('authorization_unavailable', {
      internal: 'OpenFGA cut a line of its list',
      cause: error,
    })
  }
}
