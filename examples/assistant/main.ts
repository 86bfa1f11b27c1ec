/**
 * A terminal assistant that trades for whoever it talks to, and the services that it needs: see
 * docs/assistant.md.
 *
 *     npm run demo:assistant                       # asks who you are
 *     npm run demo:assistant -- --person bob       # a second terminal joins what the first one started
 *     npm run demo:assistant -- --person anne --script FILE
 */
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ciba, createRemit, deviceFlow, isRemitError, openAiTools } from '@remit/client'
import { importJWK, type JWK } from 'jose'
import { openConversation } from './conversation.ts'
import { type Model, openAiModel } from './model.ts'
import { clientId, DemoError, type Places, people, placesOf } from './places.ts'
import { scriptedModel } from './scripted.ts'
import { openServices } from './services.ts'
import { openTerminal, type Terminal } from './terminal.ts'
import { createTools, scopes } from './tools.ts'
import { createWaitingOrders } from './waiting.ts'
import { problemOf } from './words.ts'

const { ASSISTANT_BASE_URL, ASSISTANT_MODEL, ASSISTANT_API_KEY, ASSISTANT_LOOK_SECONDS = '5' } = process.env
const stopping = new AbortController()
const stop = () => stopping.abort()
process.on('SIGINT', stop)
process.on('SIGTERM', stop)

function modelOf(): Model {
  if (ASSISTANT_BASE_URL === undefined) return scriptedModel
  if (URL.parse(ASSISTANT_BASE_URL) === null) throw new DemoError('ASSISTANT_BASE_URL is no address.')
  if (ASSISTANT_MODEL === undefined) throw new DemoError('ASSISTANT_MODEL is missing: which model is it?')
  return openAiModel({
    baseURL: ASSISTANT_BASE_URL,
    model: ASSISTANT_MODEL,
    apiKey: ASSISTANT_API_KEY ?? 'none',
  })
}

interface Conversing {
  readonly places: Places
  readonly terminal: Terminal
  readonly person: string
  readonly model: Model
  readonly pauseMs: number
}

/** Milliseconds between two looks at a price. */
function lookMs(): number {
  const seconds = Number(ASSISTANT_LOOK_SECONDS)
  if (!(seconds >= 0.1 && seconds <= 3_600))
    throw new DemoError('ASSISTANT_LOOK_SECONDS must be 0.1 to 3600.')
  return seconds * 1_000
}

async function converse({ places, terminal, person, model, pauseMs }: Conversing): Promise<void> {
  const { signal } = stopping
  let isDishonest = false
  const text = await readFile(places.key, 'utf8').catch(() => {
    throw new DemoError(
      `What runs at ${places.url} was not started with the folder ${places.folder}: set ASSISTANT_HOME.`,
    )
  })
  const key = JSON.parse(text) as JWK
  const privateKey = await importJWK(key, 'ES256')
  if (privateKey instanceof Uint8Array) throw new DemoError(`${places.key} holds no private key.`)
  const client = { issuer: places.issuer, clientId, key: { privateKey, kid: key.kid ?? '' } }
  const device = deviceFlow(client)
  const remit = createRemit({ url: places.url, token: device, device, ciba: ciba(client), scopes })
  const session = remit.for({ subject: person })

  const tools = createTools({ places, say: terminal.note, isDishonest: () => isDishonest })
  const waiting = createWaitingOrders({
    ...tools,
    say: terminal.note,
    pause: (until) => delay(pauseMs, undefined, { signal: until }),
    signal,
  })
  const conversation = openConversation({ model, tools: openAiTools(tools.defined(waiting), session) })

  await tools.signIn(undefined, session, { signal })
  terminal.note(`Signed in: I work for ${person}, within what you lent me. An empty line ends it.`)
  for (;;) {
    const text = await terminal.ask(`${person}> `)
    if (text === undefined || text === '') break
    if (text === '/dishonest') {
      isDishonest = !isDishonest
      terminal.note(`From now on I order ${isDishonest ? 'one share more than' : 'what'} you agreed to.`)
    } else terminal.say(await conversation.turn(text, signal))
  }
  if (!signal.aborted) await waiting.settled()
}

const isHere = (person: string): boolean => people.some((known) => known === person)

async function inputOf(script: string | undefined): Promise<Readable> {
  if (script === undefined) return process.stdin
  const text = await readFile(script, 'utf8').catch(() => {
    throw new DemoError(`The script ${script} cannot be read.`)
  })
  return Readable.from([text])
}

async function run(): Promise<void> {
  const { values: given } = parseArgs({ options: { person: { type: 'string' }, script: { type: 'string' } } })
  if (given.person !== undefined && !isHere(given.person))
    throw new DemoError(`--person takes ${people.join(' or ')}.`)
  const places = placesOf(process.env)
  const model = modelOf()
  const pauseMs = lookMs()
  using terminal = openTerminal({
    input: await inputOf(given.script),
    output: process.stdout,
    onInterrupt: stop,
  })
  stopping.signal.addEventListener('abort', () => terminal[Symbol.dispose](), { once: true })
  terminal.note(`Model: ${model.title}`)
  terminal.note('Starting Remit, a broker and a double of a market-data provider…')
  await using services = await openServices(places, stopping.signal)
  terminal.note(
    `${services.areOurs ? 'Started' : 'They run already, for another terminal'}: Remit at ${places.url}`,
  )
  terminal.note(
    `You are the market at ${places.market}. Passwords of ${people.join(' and ')}: ${places.passwords}`,
  )
  let person = given.person ?? ''
  while (!isHere(person)) {
    const answer = await terminal.ask(`Who are you (${people.join(' or ')})? `)
    if (answer === undefined || answer === '') return
    person = answer
  }
  await converse({ places, terminal, person, model, pauseMs })
}

try {
  await run()
} catch (error) {
  if (stopping.signal.aborted) process.exitCode = 0
  else {
    console.error(said(error))
    process.exitCode = 1
  }
}

function said(error: unknown): string {
  if (error instanceof DemoError) return error.message
  // Of parseArgs: an option that there is not.
  if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
    return error.message
  if (isRemitError(error)) return problemOf(error)
  return error instanceof Error ? (error.stack ?? error.message) : 'Something was thrown that is no error.'
}
