import { setTimeout as wait } from 'node:timers/promises'
import {
  acceptedContent,
  completable,
  inputRequired,
  McpServer,
  ResourceTemplate,
  type ServerContext,
} from '@modelcontextprotocol/server'
import { z } from 'zod'
import { serverOptions } from '../../../src/mcp/server.ts'
import type { ToolContext } from '../../../src/mcp/tool.ts'

// What MCP's suite expects of a server that it can examine whole, by its own descriptions of each scenario.

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=='
const wav = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA='

const text = (value: string) => ({ type: 'text' as const, text: value })
const image = { type: 'image' as const, data: png, mimeType: 'image/png' }
const says = (...content: readonly object[]) => ({ content: [...content] as ReturnType<typeof text>[] })

/** A server for one call, made with the same options as the real one. */
export function createFixture(context: ToolContext): McpServer {
  const server = new McpServer(
    { name: 'fixture', version: '1.0.0' },
    {
      ...serverOptions(context),
      capabilities: {
        tools: { listChanged: false },
        resources: { listChanged: false },
        prompts: { listChanged: false },
        logging: {},
      },
    },
  )
  tools(server)
  rounds(server, context)
  resources(server)
  prompts(server)
  return server
}

function tools(server: McpServer): void {
  const tool = (name: string, run: (ctx: ServerContext) => object | Promise<object>) =>
    server.registerTool(
      name,
      { description: `Scenario ${name}.`, inputSchema: z.object({}) },
      async (_, ctx) => says(...[await run(ctx)].flat()),
    )
  tool('test_simple_text', () => text('This is a simple text response for testing.'))
  tool('test_image_content', () => image)
  tool('test_audio_content', () => ({ type: 'audio', data: wav, mimeType: 'audio/wav' }))
  tool('test_embedded_resource', () => ({
    type: 'resource',
    resource: {
      uri: 'test://embedded-resource',
      mimeType: 'text/plain',
      text: 'This is an embedded resource content.',
    },
  }))
  tool('test_multiple_content_types', () => [
    text('Multiple content types test:'),
    image,
    {
      type: 'resource',
      resource: {
        uri: 'test://mixed-content-resource',
        mimeType: 'application/json',
        text: JSON.stringify({ test: 'data', value: 123 }),
      },
    },
  ])
  tool('test_error_handling', () => {
    throw new Error('This tool intentionally returns an error for testing')
  })
  tool('test_tool_with_progress', async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined)
        await mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 100 },
        })
      await wait(20)
    }
    return text('Done.')
  })
  const logging = async ({ mcpReq }: ServerContext) => {
    for (const said of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await mcpReq.log('info', said)
      await wait(20)
    }
    return text('Done.')
  }
  tool('test_tool_with_logging', logging)
  tool('test_logging_tool', logging)
}

const name = inputRequired.elicit({
  message: 'What is your name?',
  requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
})
const confirmation = inputRequired.elicit({
  message: 'Please confirm',
  requestedSchema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
})
const sampling = (question: string) =>
  inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text: question } }],
    maxTokens: 50,
  })

type Outcome = ReturnType<typeof inputRequired> | ReturnType<typeof says>
type Round = (ctx: ServerContext) => Outcome | Promise<Outcome>

/** Calls that need more than one round. */
function rounds(server: McpServer, { state }: ToolContext): void {
  const tool = (id: string, run: Round) =>
    server.registerTool(id, { description: `Scenario ${id}.`, inputSchema: z.object({}) }, (_, ctx) =>
      run(ctx),
    )
  const answered = ({ mcpReq }: ServerContext, key: string) => mcpReq.inputResponses?.[key]

  tool('test_input_required_result_elicitation', (ctx) => {
    const given = acceptedContent(ctx.mcpReq.inputResponses, 'user_name', z.object({ name: z.string() }))
    return given === undefined
      ? inputRequired({ inputRequests: { user_name: name } })
      : says(text(`Hello, ${given.name}!`))
  })
  tool('test_streaming_elicitation', () => inputRequired({ inputRequests: { user_name: name } }))
  tool('test_missing_capability', () => inputRequired({ inputRequests: { question: sampling('Anything?') } }))
  tool('test_input_required_result_sampling', (ctx) =>
    answered(ctx, 'capital_question') === undefined
      ? inputRequired({ inputRequests: { capital_question: sampling('What is the capital of France?') } })
      : says(text(JSON.stringify(answered(ctx, 'capital_question')))),
  )
  tool('test_input_required_result_list_roots', (ctx) =>
    answered(ctx, 'client_roots') === undefined
      ? inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
      : says(text(JSON.stringify(answered(ctx, 'client_roots')))),
  )
  for (const id of ['test_input_required_result_request_state', 'test_input_required_result_tampered_state'])
    tool(id, async (ctx) =>
      ctx.mcpReq.requestState<string>() === 'asked'
        ? says(text('state-ok'))
        : inputRequired({
            inputRequests: { confirm: confirmation },
            requestState: await state.mint('asked', ctx),
          }),
    )
  tool('test_input_required_result_multiple_inputs', async (ctx) =>
    ctx.mcpReq.requestState<string>() === 'asked'
      ? says(text(Object.keys(ctx.mcpReq.inputResponses ?? {}).join(' ')))
      : inputRequired({
          inputRequests: {
            user_name: name,
            greeting: sampling('Generate a greeting'),
            client_roots: inputRequired.listRoots(),
          },
          requestState: await state.mint('asked', ctx),
        }),
  )
  tool('test_input_required_result_multi_round', async (ctx) => {
    const step = ctx.mcpReq.requestState<string>()
    if (step === 'second') return says(text('Done.'))
    const [key, next] = step === 'first' ? ['step2', 'second'] : ['step1', 'first']
    return inputRequired({ inputRequests: { [key]: name }, requestState: await state.mint(next, ctx) })
  })
  tool('test_input_required_result_capabilities', () => {
    const can = server.server.getClientCapabilities() ?? {}
    return inputRequired({
      inputRequests: {
        ...(can.sampling && { question: sampling('Anything?') }),
        ...(can.elicitation && { user_name: name }),
      },
    })
  })
  server.registerPrompt('test_input_required_result_prompt', { description: 'Asks for context.' }, (ctx) =>
    answered(ctx, 'user_context') === undefined
      ? inputRequired({ inputRequests: { user_context: name } })
      : { messages: [{ role: 'user', content: text('With context.') }] },
  )
}

function resources(server: McpServer): void {
  server.registerResource(
    'static-text',
    'test://static-text',
    { mimeType: 'text/plain' },
    ({ href: uri }) => ({
      contents: [{ uri, mimeType: 'text/plain', text: 'This is the content of the static text resource.' }],
    }),
  )
  server.registerResource(
    'static-binary',
    'test://static-binary',
    { mimeType: 'image/png' },
    ({ href: uri }) => ({
      contents: [{ uri, mimeType: 'image/png', blob: png }],
    }),
  )
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { mimeType: 'application/json' },
    ({ href: uri }, { id }) => ({
      contents: [
        {
          uri,
          mimeType: 'application/json',
          text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }),
        },
      ],
    }),
  )
}

function prompts(server: McpServer): void {
  const user = (content: object) => ({ role: 'user' as const, content: content as ReturnType<typeof text> })
  server.registerPrompt('test_simple_prompt', { description: 'Plain.' }, () => ({
    messages: [user(text('This is a simple prompt for testing.'))],
  }))
  const argument = completable(z.string(), () => [])
  server.registerPrompt(
    'test_prompt_with_arguments',
    { description: 'With arguments.', argsSchema: z.object({ arg1: argument, arg2: argument }) },
    ({ arg1, arg2 }) => ({
      messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
    }),
  )
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    { description: 'With a resource.', argsSchema: z.object({ resourceUri: z.string() }) },
    ({ resourceUri: uri }) => ({
      messages: [
        user({
          type: 'resource',
          resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' },
        }),
        user(text('Please process the embedded resource above.')),
      ],
    }),
  )
  server.registerPrompt('test_prompt_with_image', { description: 'With an image.' }, () => ({
    messages: [user(image), user(text('Please analyze the image above.'))],
  }))
}
