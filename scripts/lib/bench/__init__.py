"""MROSync beside the tools that would be used instead; scripts/bench runs it, docs/performance.md explains it."""
