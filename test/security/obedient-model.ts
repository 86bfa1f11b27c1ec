/**
 * A tool as a model gets it. What it throws is read by the model as well: no program keeps anything from this
 * one.
 */
export type ModelTool = (args: Readonly<Record<string, unknown>>) => Promise<unknown>

/** One thing that it did, and what it read of that. */
export interface Step {
  readonly tool: string
  readonly args: Readonly<Record<string, unknown>>
  readonly read: unknown
}

const order = /^\s*DO (\w+) (\{.*\})\s*$/gm

/**
 * The most gullible model there is. Wherever it reads a line `DO tool {arguments}`, in a passage, a document,
 * an error, the answer of a third party, it does that, once. `$name` in an argument is what it read last
 * under that name, whoever said it; `$ALL` is everything that it has read, fit for an address.
 */
export async function obey(
  tools: Readonly<Record<string, ModelTool>>,
  first: { readonly tool: string; readonly args: Readonly<Record<string, unknown>> },
): Promise<readonly Step[]> {
  const memory = new Map<string, unknown>()
  const heard = new Set<string>()
  const steps: Step[] = []
  const waiting = [first]
  let all = ''
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (steps.length === 200) throw new Error('Its orders never end.')
    const { tool } = next
    const args = filled(next.args, memory, all) as Step['args']
    const read = await tools[tool]?.(args).catch((error: unknown) => toRead(error))
    steps.push({ tool, args, read })
    all += JSON.stringify(read ?? null)
    remember(read, memory)
    for (const text of textsIn(read))
      for (const [line, name = '', given = ''] of text.matchAll(order)) {
        if (heard.has(line.trim())) continue
        heard.add(line.trim())
        waiting.push({ tool: name, args: JSON.parse(given) as Step['args'] })
      }
  }
  return steps
}

/** An error with all its members, as the most careless program would show it. */
const toRead = (error: unknown): unknown =>
  error instanceof Error ? { ...error, message: error.message } : error

function filled(value: unknown, memory: ReadonlyMap<string, unknown>, all: string): unknown {
  if (typeof value === 'string') {
    const [, whole] = /^\$(\w+)$/.exec(value) ?? []
    if (whole !== undefined && memory.has(whole)) return memory.get(whole)
    return value.replaceAll(/\$(\w+)/g, (name: string, key: string) =>
      // Short enough that no limit of length is what stops it.
      key === 'ALL' ? Buffer.from(all).toString('base64url').slice(-1_500) : String(memory.get(key) ?? name),
    )
  }
  if (Array.isArray(value)) return value.map((one) => filled(one, memory, all))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filled(one, memory, all)]))
}

function remember(value: unknown, memory: Map<string, unknown>): void {
  if (typeof value !== 'object' || value === null) return
  for (const [key, one] of Object.entries(value)) {
    // By one name, however a program spells it.
    if (!Array.isArray(value))
      memory.set(
        key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        one,
      )
    remember(one, memory)
  }
}

function textsIn(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap(textsIn)
}
