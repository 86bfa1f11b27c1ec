import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer } from '@huggingface/tokenizers'

/** The tokenizer of a model folder. */
export interface Tokens {
  /** Token ids with the model's own marks around them, cut to `tokensMax`: the closing mark is kept. */
  encode(text: string, tokensMax: number): number[]
  /** Length of the whole, uncut, marks included. */
  count(text: string): number
}

/** More words than any corpus of ours has; past it the cache starts anew, so that it cannot grow for ever. */
const WORDS_CACHED_MAX = 200_000

/**
 * Reads `tokenizer.json`. The file's own padding and truncation are not applied: the published one pads
 * every text to 128 tokens and cuts it there, which would drop the second half of every passage.
 * Throws where the file is missing or no BERT WordPiece tokenizer: `count` relies on how that one splits.
 */
export function readTokens(folder: string): Tokens {
  const json: unknown = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'))
  if (!isBert(json)) throw new TypeError('tokenizer.json is not a BERT WordPiece tokenizer')
  const tokenizer = new Tokenizer(json, {})
  const marks = tokenizer.encode('').ids.length

  function encode(text: string, tokensMax: number): number[] {
    const ids = tokenizer.encode(text.slice(0, tokensMax * CHARACTERS_READ_PER_TOKEN)).ids
    const closing = ids.at(-1)
    if (ids.length <= tokensMax || closing === undefined) return ids
    return [...ids.slice(0, tokensMax - 1), closing]
  }

  const countWord = cached((text) => tokenizer.encode(text).ids.length - marks)
  const piece = pick(json, 'normalizer', 'handle_chinese_chars') === true ? IDEOGRAPHS : WHOLE
  return { encode, count: (text) => marks + countBert(text, countWord, piece) }
}

/**
 * A query of a megabyte must not cost a second: what comes this far behind cannot be among the first tokens.
 */
const CHARACTERS_READ_PER_TOKEN = 1000

function isBert(json: unknown): json is object {
  return (
    pick(json, 'pre_tokenizer', 'type') === 'BertPreTokenizer' && pick(json, 'model', 'vocab') !== undefined
  )
}

function pick(value: unknown, ...path: readonly string[]): unknown {
  let node: unknown = value
  for (const key of path)
    node = typeof node === 'object' && node !== null ? Reflect.get(node, key) : undefined
  return node
}

/**
 * BERT splits at white space and at every punctuation mark before it looks at words, so the count of a text
 * is the sum over its words, and words repeat. That makes counting cheap enough to size chunks exactly. A
 * piece with anything but printable ASCII, or with one of the marks written out, goes to the tokenizer whole,
 * but for its ideographs.
 */
function countBert(text: string, countWord: (text: string) => number, splitter: RegExp): number {
  let count = 0
  for (const [piece] of text.matchAll(/[^ \t\n\r]+/g)) {
    if (/^[A-Za-z0-9]+$/.test(piece)) count += countWord(piece)
    else if (/[^!-~]|\[(?:PAD|UNK|CLS|SEP|MASK)\]/.test(piece))
      for (const [subword] of piece.matchAll(splitter)) count += countWord(subword)
    else for (const [subword] of piece.matchAll(/[A-Za-z0-9]+|./g)) count += countWord(subword)
  }
  return count
}

/** Most BERTs put white space around each: they are words of their own, and repeat like words. */
const IDEOGRAPHS = /[\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF]|[^\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF]+/g

const WHOLE = /^[^]+$/g

function cached(count: (text: string) => number): (text: string) => number {
  const counts = new Map<string, number>()
  return (text) => {
    const cachedCount = counts.get(text)
    if (cachedCount !== undefined) return cachedCount
    const newCount = count(text)
    if (counts.size >= WORDS_CACHED_MAX) counts.clear()
    if (text.length <= 64) counts.set(text, newCount)
    return newCount
  }
}
