import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

// What coverage-guided fuzzing starts from, and what it once found (docs/decisions/0077-fuzzing.md).

interface Target {
  fuzz(bytes: Uint8Array): void | Promise<void>
}

const folder = (path: string): URL => new URL(path, import.meta.url)

describe.each(readdirSync(folder('targets')).map((file) => file.replace(/\.ts$/, '')))('%s', (name) => {
  test('keeps what it promises for all that is in its corpus, and for nothing, for NUL and for 0xFF', async () => {
    const { fuzz } = (await import(folder(`targets/${name}.ts`).href)) as Target
    const inputs = readdirSync(folder(`corpus/${name}`)).map((file) => ({
      file,
      bytes: readFileSync(folder(`corpus/${name}/${file}`)),
    }))
    expect(inputs).not.toHaveLength(0)
    for (const bytes of [[], [0], [255, 255, 255, 255]])
      inputs.push({ file: bytes.join(' '), bytes: Buffer.from(bytes) })
    for (const { file, bytes } of inputs)
      await expect(Promise.resolve(fuzz(bytes)), file).resolves.toBeUndefined()
  })
})
