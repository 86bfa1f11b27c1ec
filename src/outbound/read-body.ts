import type { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'

/** A body over its limit. */
export class TooLarge extends Error {}

/**
 * The whole body, decoded; throws `TooLarge` as soon as either what came or what it decodes to is over `bytesMax`, so
 * that a bomb is never held. One layer of gzip, deflate or brotli; anything else is an error. We ask for none
 * (`accept-encoding: identity`), but whoever reads an answer for what must not leave has to read what it says.
 */
export async function readBody(
  body: Readable,
  encoding: string | null,
  bytesMax: number,
): Promise<Uint8Array> {
  const decode = decoder(encoding)
  const chunks: Uint8Array[] = []
  const collect = async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of atMost(bytesMax)(source)) chunks.push(chunk)
  }
  await (decode === undefined ? pipeline(body, collect) : pipeline(body, atMost(bytesMax), decode, collect))
  return Buffer.concat(chunks)
}

const atMost = (bytesMax: number) =>
  async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let size = 0
    for await (const chunk of source) {
      size += chunk.byteLength
      if (size > bytesMax) throw new TooLarge()
      yield chunk
    }
  }

function decoder(encoding: string | null): Transform | undefined {
  switch (encoding?.trim().toLowerCase() ?? '') {
    case '':
    case 'identity':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip()
    case 'deflate':
      return createInflate()
    case 'br':
      return createBrotliDecompress()
    default:
      throw new Error('The encoding of the body is not one that is read.')
  }
}
