/** As much as is read here of a path of Babel's. */
interface Path {
  readonly node: {
    readonly type: string
    readonly value?: unknown
    readonly quasis?: readonly { readonly value: { readonly raw: string } }[]
  }
}

/** Two words: what is written for people decides nothing, and SQL that is empty fails anyway. */
const isText = (text: unknown): boolean => typeof text === 'string' && /[a-z,:;] [a-z]/i.test(text)

function shouldIgnore({ node }: Path): string | undefined {
  const texts = node.type === 'TemplateLiteral' ? node.quasis?.map(({ value }) => value.raw) : [node.value]
  const isLiteral = node.type === 'TemplateLiteral' || node.type === 'StringLiteral'
  return isLiteral && texts?.some(isText) ? 'a text for people, or SQL' : undefined
}

/** For Stryker: leaves texts as they are. */
export const strykerPlugins = [{ kind: 'Ignore', name: 'texts', value: { shouldIgnore } }]
