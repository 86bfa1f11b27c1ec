/** Bundled by esbuild, which takes it out of the script. */
declare module '*.css'
