import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { BerReader, BerWriter, PagedResultsControl } from 'ldapts'
import type { Certificate } from './certificate.ts'

/** An entry as this server sends it. */
export interface DoubleEntry {
  readonly dn: string
  readonly attributes: Readonly<Record<string, readonly (string | Buffer)[]>>
}

/** What is asked for, as far as a test looks. */
export interface DoubleSearch {
  readonly base: string
  readonly scope: 'base' | 'sub'
  readonly attributes: readonly string[]
  readonly cookie: string
}

/** What is answered. `cookie` left out: no control of pages at all. `cut`: the connection ends first. */
export interface DoubleAnswer {
  readonly entries: readonly DoubleEntry[]
  readonly cookie?: string
  readonly references?: number
  readonly cut?: boolean
}

export interface LdapDouble extends AsyncDisposable {
  readonly url: string
  readonly binds: string[]
}

/**
 * Speaks as much of LDAP (RFC 4511) as a reading asks for, to answer as no server does that a test could
 * start: Active Directory's ranges and binary ids, pages without entries, names that move between searches.
 * `injects`: sent in the clear behind the answer to StartTLS.
 */
export async function startLdapDouble(
  answer: (search: DoubleSearch) => DoubleAnswer,
  { certificate, injects }: { readonly certificate?: Certificate; readonly injects?: Buffer } = {},
): Promise<LdapDouble> {
  const binds: string[] = []
  const sockets = new Set<Socket>()
  const serve = (socket: Socket): void => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    let buffer: Buffer = Buffer.alloc(0)
    const onData = (data: Buffer): void => {
      buffer = Buffer.concat([buffer, data])
      for (let length = lengthOf(buffer); length !== undefined; length = lengthOf(buffer)) {
        const reader = new BerReader(buffer.subarray(0, length))
        buffer = buffer.subarray(length)
        reader.readSequence()
        const id = reader.readInt() ?? 0
        const operation = reader.readSequence()
        if (operation === 0x60) {
          reader.readInt()
          binds.push(reader.readString() ?? '')
          socket.write(done(id, 0x61))
        } else if (operation === 0x77) {
          if (certificate === undefined) throw new Error('It has no certificate.')
          socket.removeListener('data', onData)
          socket.write(Buffer.concat([done(id, 0x78), injects ?? Buffer.alloc(0)]))
          serve(new TLSSocket(socket, { isServer: true, key: certificate.key, cert: certificate.cert }))
        } else if (operation === 0x63) {
          const { entries, cookie, references = 0, cut = false } = answer(searchOf(reader))
          for (const entry of entries) socket.write(entryMessage(id, entry))
          for (let count = 0; count < references; count += 1) socket.write(referenceMessage(id))
          if (cut) socket.destroy()
          else socket.write(done(id, 0x65, cookie))
        } else socket.destroy()
      }
    }
    socket.on('data', onData)
  }
  const server = createServer(serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `ldap://localhost:${port}`,
    binds,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Bytes of the first message, once all of them are there. */
function lengthOf(buffer: Buffer): number | undefined {
  const reader = new BerReader(buffer)
  if (reader.readSequence() === null) return undefined
  const length = reader.offset + reader.length
  return buffer.length >= length ? length : undefined
}

function searchOf(reader: BerReader): DoubleSearch {
  const base = reader.readString() ?? ''
  const scope = reader.readEnumeration() === 0 ? 'base' : 'sub'
  reader.readEnumeration()
  reader.readInt()
  reader.readInt()
  reader.readBoolean()
  // The filter is whatever it is.
  reader.readSequence()
  reader.offset += reader.length
  reader.readSequence()
  const end = reader.offset + reader.length
  const attributes: string[] = []
  while (reader.offset < end) attributes.push(reader.readString() ?? '')
  let cookie = ''
  if (reader.peek() === 0xa0) {
    reader.readSequence()
    reader.readSequence()
    reader.readString()
    reader.readBoolean()
    const value = new BerReader(reader.readString(4, true) ?? Buffer.alloc(0))
    value.readSequence()
    value.readInt()
    cookie = value.readString() ?? ''
  }
  return { base, scope, attributes, cookie }
}

function message(id: number, write: (writer: BerWriter) => void): Buffer {
  const writer = new BerWriter()
  writer.startSequence()
  writer.writeInt(id)
  write(writer)
  writer.endSequence()
  return writer.buffer
}

/** A result of success, with the cookie of the next page where one is given. */
export const done = (id: number, operation: number, cookie?: string): Buffer =>
  message(id, (writer) => {
    writer.startSequence(operation)
    writer.writeEnumeration(0)
    writer.writeString('')
    writer.writeString('')
    writer.endSequence()
    if (cookie === undefined) return
    writer.startSequence(0xa0)
    new PagedResultsControl({ value: { size: 0, cookie: Buffer.from(cookie) } }).write(writer)
    writer.endSequence()
  })

/** An entry of a search. */
export const entryMessage = (id: number, { dn, attributes }: DoubleEntry): Buffer =>
  message(id, (writer) => {
    writer.startSequence(0x64)
    writer.writeString(dn)
    writer.startSequence()
    for (const [name, values] of Object.entries(attributes)) {
      writer.startSequence()
      writer.writeString(name)
      writer.startSequence(0x31)
      for (const value of values) writer.writeBuffer(Buffer.from(value), 4)
      writer.endSequence()
      writer.endSequence()
    }
    writer.endSequence()
    writer.endSequence()
  })

const referenceMessage = (id: number): Buffer =>
  message(id, (writer) => {
    writer.startSequence(0x73)
    writer.writeString('ldap://elsewhere.test/')
    writer.endSequence()
  })
